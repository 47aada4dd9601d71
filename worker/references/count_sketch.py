"""A balanced count sketch: a random projection of long feature vectors that is cheap and the same
in every process.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worker.seeds import generator


def projected(x: Float[Tensor, "n d"], dimensions: int) -> Float[Tensor, "n k"]:
    """x sketched to k = `dimensions` columns if it is wider, else x itself.

    The map is linear and the same for every row.

    Shuffle the columns, give each a random sign, deal them into k buckets, and add up each bucket.
    Then E|y|^2 = |x|^2 and Var|y|^2 <= (2/k) |x|^4: squared distances have a relative error of
    about sqrt(2/k), for O(d) work per row (Charikar, Chen and Farach-Colton, ICALP 2002; Weinberger
    et al., arXiv 0902.2206; Kane and Nelson, arXiv 1012.1577).
    """
    if x.shape[1] <= dimensions:
        return x
    return _Apply.apply(x, sketch(x.shape[1], dimensions, x.device))


@dataclass(frozen=True, eq=False)
class Sketch:
    """A balanced count sketch from d columns to k buckets.

    `order` [b k], b = ceil(d / k): bucket j adds the columns order[j], order[j + k], ..., times
    `signs` [b k]. Padding has sign 0. `bucket` [d] and `sign` [d] give the same map by column.
    """

    order: Int[Tensor, " padded"]
    signs: Float[Tensor, " padded"]
    bucket: Int[Tensor, " d"]
    sign: Float[Tensor, " d"]
    dimensions: int


@lru_cache(maxsize=16)
def sketch(width: int, dimensions: int, device: torch.device, *, seed: int = 0) -> Sketch:
    """The sketch from `width` to `dimensions` columns. It is drawn once per process and kept."""
    g = generator("projection", width, dimensions, seed)
    column = torch.randperm(width, generator=g)  # int32 below: the first block of a UNet has millions of columns
    sign = torch.randint(2, (width,), generator=g).mul_(2).sub_(1).float()
    place = torch.empty_like(column).scatter_(0, column, torch.arange(width))
    padding = -width % dimensions
    return Sketch(
        order=torch.cat([column, column.new_zeros(padding)]).int().to(device),
        signs=torch.cat([sign[column], sign.new_zeros(padding)]).to(device),
        bucket=(place % dimensions).int().to(device),
        sign=sign.to(device),
        dimensions=dimensions,
    )


class _Apply(torch.autograd.Function):
    """Applies a sketch to every row.

    Both directions only gather, then add in a fixed order: GPUs repeat the same bits.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, used: Sketch) -> Tensor:
        ctx.used = used
        dealt = x.index_select(1, used.order).mul_(used.signs)
        return dealt.view(len(x), -1, used.dimensions).sum(1)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return grad_outputs[0].index_select(1, ctx.used.bucket).mul_(ctx.used.sign), None
