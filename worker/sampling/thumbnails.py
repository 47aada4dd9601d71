"""Small copies of latents: where a synthetic set is compared with real images.

Not the tapped features: guidance moves those itself. Guided digits, which teach a classifier as well as real ones, cover
none of the real images there, as noise does; among latents they cover as many as real images would.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

SIDE = 32


def thumbnails(latents: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
    """The latents, averaged over rectangles to at most SIDE x SIDE, as one float32 row each on the CPU."""
    height, width = (min(size, SIDE) for size in latents.shape[-2:])
    return adaptive_avg_pool2d(latents.float(), (height, width)).flatten(1).cpu()
