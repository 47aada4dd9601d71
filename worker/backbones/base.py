"""What the sampling loop asks of a diffusion model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from app.domain.spec import Scheduler


@dataclass(frozen=True)
class Denoised:
    """One pass: the predicted noise, and the tapped features of the conditional half if a tap was asked for."""

    eps: Float[Tensor, "n c h w"]
    features: Float[Tensor, "n d"] | None


@runtime_checkable
class Backbone(Protocol):
    """A pretrained, frozen diffusion model behind one small contract. Its quirks end in the adapter."""

    name: str
    revision: str
    latent_shape: tuple[int, int, int]
    image_size: int
    channels: int
    blocks: int
    labels: Mapping[str, int]
    device: torch.device

    def scheduler(self, name: Scheduler, steps: int) -> Any:
        """A fresh diffusers scheduler on the model's own noise schedule, its timesteps set.

        Raises InvalidSpec naming `sampling.steps` if the schedule has not as many different timesteps.
        """
        ...

    def encode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        """Latents of images in [-1, 1]."""
        ...

    def decode(self, latents: Float[Tensor, "n c2 h2 w2"]) -> Float[Tensor, "n c h w"]:
        """Images of latents, clamped to [-1, 1]."""
        ...

    def add_noise(
        self, x0: Float[Tensor, "n c h w"], eps: Float[Tensor, "n c h w"], t: Int[Tensor, ""]
    ) -> Float[Tensor, "n c h w"]:
        """x_t of latents x_0 under the forward process."""
        ...

    def predicted_x0(
        self, x_t: Float[Tensor, "n c h w"], eps: Float[Tensor, "n c h w"], t: Int[Tensor, ""]
    ) -> Float[Tensor, "n c h w"]:
        """x_0 if eps is the noise in x_t, the inverse of `add_noise`; clamped where the model's noise schedule clips it."""
        ...

    def posterior_std(self, t: Int[Tensor, ""], earlier: Int[Tensor, ""] | None) -> float:
        """Standard deviation of x at the `earlier` timestep given x_t and x_0; zero where that is x_0 itself (None)."""
        ...

    def denoise(
        self,
        x_t: Float[Tensor, "n c h w"],
        t: Int[Tensor, ""],
        class_labels: Int[Tensor, " n"],
        cfg_scale: float,
        tap: int | None,
    ) -> Denoised:
        """eps_theta(x_t, t, c) under classifier-free guidance, and phi_tap(x_t, t, c) from the same pass.

        Where autograd is on, it reaches x_t through the features and only through them: nothing past the tap is recorded.
        """
        ...

    def features(
        self, x_t: Float[Tensor, "n c h w"], t: Int[Tensor, ""], class_labels: Int[Tensor, " n"], tap: int
    ) -> Float[Tensor, "n d"]:
        """phi_tap(x_t, t, c): the hidden state after block `tap` (1 = the first), tokens flattened."""
        ...
