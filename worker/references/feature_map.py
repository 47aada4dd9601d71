"""Feature maps: the rows of numbers that stand for images when hidden states are compared."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from app.domain.spec.guidance import Features
from worker.references.count_sketch import projected

Hidden = Sequence[Float[Tensor, "n _ _"]]  # one [n, tokens, channels] per tapped block; the blocks of a UNet differ in both


@dataclass(frozen=True)
class FeatureMap:
    """Maps the hidden states of every tap to features in float32 or wider, the taps side by side.

    `dimensions` is the width of `projected` features; other kinds ignore it.
    """

    kind: Features
    dimensions: int

    def __call__(self, hidden: Hidden) -> Float[Tensor, "n d"]:
        """One row per image.

        Autograd passes through it. A row does not depend on the other images of the batch.
        """
        return torch.cat([self._features(state.to(torch.promote_types(state.dtype, torch.float32))) for state in hidden], dim=1)

    def widths(self, hidden: Hidden) -> tuple[int, ...]:
        """The number of columns of each tap, in order."""
        return tuple(self._width(*state.shape[1:]) for state in hidden)

    def _features(self, state: Float[Tensor, "n tokens channels"]) -> Float[Tensor, "n d"]:
        if self.kind is Features.POOLED:
            return state.mean(1)
        return state.flatten(1) if self.kind is Features.TOKENS else projected(state.flatten(1), self.dimensions)

    def _width(self, tokens: int, channels: int) -> int:
        if self.kind is Features.POOLED:
            return channels
        return tokens * channels if self.kind is Features.TOKENS else min(tokens * channels, self.dimensions)


def distance_error(sketched: Float[Tensor, "n k"], exact: Float[Tensor, "n d"]) -> tuple[float, float]:
    """Mean and largest |d' / d - 1| over pairs of rows: d' is the distance of two sketched rows, d
    that of the exact rows.

    Pairs at distance 0 are left out. Both numbers are 0 where no pair is left.
    """
    true = torch.pdist(exact)
    errors = (torch.pdist(sketched)[true > 0] / true[true > 0] - 1).abs()
    return (errors.mean().item(), errors.max().item()) if len(errors) else (0.0, 0.0)
