"""What of the tapped hidden states is compared: rows of numbers whose distances stand for those of images."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from app.domain.spec import Features
from worker.seeds import generator

Hidden = Sequence[Float[Tensor, "n _ _"]]  # tokens and channels of each tapped block; a UNet's blocks differ in both


@dataclass(frozen=True)
class FeatureMap:
    """The features of a `kind`, those of all taps side by side, in float32 at least; `dimensions` is for `projected` alone."""

    kind: Features
    dimensions: int

    def __call__(self, hidden: Hidden) -> Float[Tensor, "n d"]:
        """One row per image. Autograd goes through it, and nothing in it depends on the other images of the batch."""
        return torch.cat([self._of(one.to(torch.promote_types(one.dtype, torch.float32))) for one in hidden], dim=1)

    def widths(self, hidden: Hidden) -> tuple[int, ...]:
        """How many of the columns each tap has, in order."""
        return tuple(self._width(*one.shape[1:]) for one in hidden)

    def _of(self, one: Float[Tensor, "n tokens channels"]) -> Float[Tensor, "n d"]:
        if self.kind is Features.POOLED:
            return one.mean(1)
        return one.flatten(1) if self.kind is Features.TOKENS else projected(one.flatten(1), self.dimensions)

    def _width(self, tokens: int, channels: int) -> int:
        if self.kind is Features.POOLED:
            return channels
        return tokens * channels if self.kind is Features.TOKENS else min(tokens * channels, self.dimensions)


def projected(x: Float[Tensor, "n d"], dimensions: int) -> Float[Tensor, "n k"]:
    """x sketched to k = `dimensions` columns if it is wider, else x itself: the same linear map for every row, d and seed.

    A balanced count sketch: shuffle the columns, give each a random sign, deal them out into k buckets, add up each bucket.
    E|y|^2 = |x|^2 and Var|y|^2 <= (2/k) |x|^4, so squared distances keep to a relative error of about sqrt(2/k), in O(d) work
    per row (Charikar, Chen and Farach-Colton, ICALP 2002; Weinberger et al., arXiv 0902.2206; Kane and Nelson, 1012.1577).
    """
    if x.shape[1] <= dimensions:
        return x
    return _Apply.apply(x, sketch(x.shape[1], dimensions, x.device))


@dataclass(frozen=True, eq=False)
class Sketch:
    """A balanced count sketch of d columns in k buckets.

    `order` [b k], b = ceil(d / k): bucket j takes the columns order[j], order[j + k], ..., times `signs` [b k]; what lacks to
    b k has sign 0. `bucket` [d] and `sign` [d] say the same of each column.
    """

    order: Int[Tensor, " padded"]
    signs: Float[Tensor, " padded"]
    bucket: Int[Tensor, " d"]
    sign: Float[Tensor, " d"]
    dimensions: int


@lru_cache(maxsize=16)
def sketch(width: int, dimensions: int, device: torch.device, *, seed: int = 0) -> Sketch:
    """The sketch from `width` to `dimensions` columns, drawn once and kept."""
    g = generator("projection", width, dimensions, seed)
    column = torch.randperm(width, generator=g)  # int32 below: a UNet's first block has millions of columns
    sign = torch.randint(2, (width,), generator=g).mul_(2).sub_(1).float()
    place = torch.empty_like(column).scatter_(0, column, torch.arange(width))
    missing = -width % dimensions
    return Sketch(
        order=torch.cat([column, column.new_zeros(missing)]).int().to(device),
        signs=torch.cat([sign[column], sign.new_zeros(missing)]).to(device),
        bucket=(place % dimensions).int().to(device),
        sign=sign.to(device),
        dimensions=dimensions,
    )


class _Apply(torch.autograd.Function):
    """A sketch of every row. Both ways only gather, and add in a fixed order: GPUs give the same bits each time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, used: Sketch) -> Tensor:
        ctx.used = used
        dealt = x.index_select(1, used.order).mul_(used.signs)
        return dealt.view(len(x), -1, used.dimensions).sum(1)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return grad_outputs[0].index_select(1, ctx.used.bucket).mul_(ctx.used.sign), None


def distance_error(sketched: Float[Tensor, "n k"], exact: Float[Tensor, "n d"]) -> tuple[float, float]:
    """Mean and largest |d' / d - 1| over the pairs of rows, d' the distance of two sketched rows, d that of the exact ones.

    Pairs at distance 0 are left out; where no pair is left, both are 0.
    """
    true = torch.pdist(exact)
    errors = (torch.pdist(sketched)[true > 0] / true[true > 0] - 1).abs()
    return (errors.mean().item(), errors.max().item()) if len(errors) else (0.0, 0.0)
