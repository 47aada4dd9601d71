"""Thumbnails of latents: the space in which a synthetic set is compared with real images.

The tapped features would not do, because guidance moves exactly those. Guided digits teach a
classifier as well as real digits, yet in the tapped features they cover none of the real images, as
noise does; as thumbnails they cover as many as real images would.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

SIDE = 32


def thumbnails(latents: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
    """The latents averaged to at most SIDE x SIDE, one float32 row per image, on the CPU."""
    height, width = (min(size, SIDE) for size in latents.shape[-2:])
    return adaptive_avg_pool2d(latents.float(), (height, width)).flatten(1).cpu()
