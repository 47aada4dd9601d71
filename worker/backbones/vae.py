"""Maps images to latents and back, with a VAE in diffusers' format.

Rombach et al., arXiv 2112.10752.
"""

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor


class Autoencoder:
    """AutoencoderKL with latents shifted and scaled to about unit variance, (z - shift) scale.

    It computes in its own dtype, which is float32, because some VAEs overflow in half precision.
    """

    def __init__(self, vae: AutoencoderKL) -> None:
        self._vae = vae.requires_grad_(False).eval()
        self._shift = vae.config.shift_factor or 0.0
        self._scale: float = vae.config.scaling_factor
        self.ratio = 2 ** (len(vae.config.block_out_channels) - 1)

    @property
    def modules(self) -> tuple[torch.nn.Module, ...]:
        return (self._vae,)

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        """The mode of the latents' distribution, for images in [-1, 1]."""
        return (self._vae.encode(images.to(self._vae.dtype)).latent_dist.mode() - self._shift) * self._scale

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "n c2 h2 w2"]) -> Float[Tensor, "n c h w"]:
        """The images of latents, not yet clamped to [-1, 1]."""
        return self._vae.decode(latents.to(self._vae.dtype) / self._scale + self._shift).sample
