"""Mercer kernels on feature vectors, as Gram matrices."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class MercerKernel(Protocol):
    """A symmetric positive semidefinite function K of two feature vectors."""

    def gram(self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """K(a_i, b_j) for every pair."""
        ...

    def diagonal(self, a: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """K(a_i, a_i) for every row."""
        ...


@dataclass(frozen=True)
class Linear:
    """K(a, b) = <a, b>. Not characteristic: it sees only the means of two sets. No bandwidth."""

    def gram(self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        return a @ b.T

    def diagonal(self, a: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return a.square().sum(-1)


@dataclass(frozen=True)
class RBF:
    """K(a, b) = exp(-|a - b|^2 / (2 h^2)) with h = `bandwidth` > 0 in feature units. Characteristic."""

    bandwidth: float

    def __post_init__(self) -> None:
        if not 0 < self.bandwidth < float("inf"):
            raise ValueError(f"bandwidth must be a number above 0, not {self.bandwidth}")

    def gram(self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        square = squared_distances(a, b)
        h = max(self.bandwidth, torch.finfo(square.dtype).eps)  # below it, 1 / h^2 leaves the dtype and gradients are NaN
        return torch.exp(square / (-2 * h * h))

    def diagonal(self, a: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return torch.ones_like(a[:, 0])


def squared_distances(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """|a_i - b_j|^2 for every pair, as |a|^2 + |b|^2 - 2 <a, b>, clamped at 0.

    Both sets are first moved by the mean of `b`: distances do not change, and float32 keeps the digits that
    subtracting two large norms would lose.
    """
    centre = b.detach().mean(0)
    a, b = a - centre, b - centre
    norms = a.square().sum(-1)[:, None] + b.square().sum(-1)[None, :]
    return (norms - 2 * a @ b.T).clamp_min(0)
