"""The ConvNet of the dataset distillation literature (Zhao et al., Dataset Condensation, ICLR 2021,
Section 4.1).
"""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn


class ConvNet(nn.Module):
    """`depth` convolution blocks, then one linear layer.

    A block is a 3x3 convolution, instance normalisation, ReLU and 2x2 average pooling. Each block
    halves the maps, and instance normalisation of a 1x1 map is zero. Images therefore need at least
    2**`depth` pixels a side.
    """

    def __init__(self, *, channels: int, image_size: int, classes: int, depth: int = 3, width: int = 128) -> None:
        super().__init__()
        if image_size < 2**depth:
            raise ValueError(f"a ConvNet of depth {depth} needs images of {2**depth} pixels; these have {image_size}")
        self.blocks = nn.Sequential(*(_block(before, after) for before, after in pairwise([channels, *[width] * depth])))
        self.linear = nn.Linear(width * (image_size >> depth) ** 2, classes)

    def forward(self, images: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n classes"]:
        """Logits."""
        return self.linear(self.blocks(images).flatten(1))


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1),
        nn.InstanceNorm2d(channels_out, affine=True),
        nn.ReLU(),
        nn.AvgPool2d(2),
    )
