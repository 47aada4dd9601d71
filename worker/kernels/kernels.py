"""Mercer kernels on feature vectors, as Gram matrices.

A kernel is characteristic if only equal distributions have equal mean embeddings, so that its MMD
sees every difference (Sriperumbudur et al., JMLR 11, 2010). Bandwidths are distances in feature
units.
"""

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


@runtime_checkable
class MetricKernel(MercerKernel, Protocol):
    """A kernel that computes its induced distance without subtracting nearly equal numbers."""

    def squared_distance(self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """K(a_i, a_i) + K(b_j, b_j) - 2 K(a_i, b_j) >= 0 for every pair.

        It is exact even where it is far smaller than K.
        """
        ...


@dataclass(frozen=True)
class Linear:
    """K(a, b) = <a, b>. Not characteristic: it sees only the means of two sets. No bandwidth."""

    def gram(self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        return a @ b.T

    def diagonal(self, a: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return a.square().sum(-1)

    def squared_distance(self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        return squared_distances(a, b)


@dataclass(frozen=True)
class Polynomial:
    """K(a, b) = (<a, b> / d + 1)^3 for features of dimension d, as in KID.

    KID is from Binkowski et al., arXiv 1801.01401. The kernel is not characteristic: it sees
    moments up to the third. It has no bandwidth, because dividing by d keeps the base of order 1 if
    the features are, whatever their number.
    """

    def gram(self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def diagonal(self, a: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return (a.square().mean(-1) + 1) ** 3

    def squared_distance(self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """p^3 + q^3 - 2 c^3 = (p + q - 2 c) (u^2 + u c + c^2) + (3 / 2) u (p - q)^2.

        Here u = (p + q) / 2, and no term is negative. p, q and c are <a, a> / d + 1, <b, b> / d + 1
        and <a, b> / d + 1, so p + q - 2 c = |a - b|^2 / d.
        """
        p, q = (a.square().mean(-1) + 1)[:, None], (b.square().mean(-1) + 1)[None, :]
        nearness = squared_distances(a, b) / a.shape[1]
        u = (p + q) / 2
        c = u - nearness / 2
        return nearness * (u * u + u * c + c * c) + 1.5 * u * (p - q) ** 2


@dataclass(frozen=True)
class RBF:
    """K(a, b) = exp(-|a - b|^2 / (2 h^2)) with h = `bandwidth` > 0 in feature units.

    Characteristic.
    """

    bandwidth: float

    def __post_init__(self) -> None:
        require_bandwidth(self.bandwidth)

    def gram(self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        return torch.exp(_minus_half_square(squared_distances(a, b), self.bandwidth))

    def diagonal(self, a: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return torch.ones_like(a[:, 0])

    def squared_distance(self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        return -2 * torch.expm1(_minus_half_square(squared_distances(a, b), self.bandwidth))


@dataclass(frozen=True)
class RBFMixture:
    """K(a, b) = mean over h in `bandwidths` of exp(-|a - b|^2 / (2 h^2)).

    There is at least one bandwidth, and each is > 0. Characteristic.

    The kernel is the sum of RBFs up to a factor (Li, Swersky and Zemel, arXiv 1502.02761, section
    3). The factor is chosen so that K(a, a) = 1 and the distances are as long as those of a single
    RBF.
    """

    bandwidths: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.bandwidths:
            raise ValueError("a mixture of RBFs needs at least one bandwidth")
        for bandwidth in self.bandwidths:
            require_bandwidth(bandwidth)

    def gram(self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        square = squared_distances(a, b)
        return torch.stack([torch.exp(_minus_half_square(square, h)) for h in self.bandwidths]).mean(0)

    def diagonal(self, a: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return torch.ones_like(a[:, 0])

    def squared_distance(self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        square = squared_distances(a, b)
        return -2 * torch.stack([torch.expm1(_minus_half_square(square, h)) for h in self.bandwidths]).mean(0)


@dataclass(frozen=True)
class Laplacian:
    """K(a, b) = exp(-|a - b| / h) with the Euclidean norm, h = `bandwidth` > 0 in feature units.

    Characteristic.

    The norm is Euclidean, not the sum of absolute differences that also goes by this name. Rotating
    the features therefore changes nothing, a random projection keeps the norm, and the median of
    the same distance is its scale. The kernel is the Matern kernel of order 1/2.
    """

    bandwidth: float

    def __post_init__(self) -> None:
        require_bandwidth(self.bandwidth)

    def gram(self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        return torch.exp(-euclidean_distances(a, b) / within(a.dtype, self.bandwidth))

    def diagonal(self, a: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return torch.ones_like(a[:, 0])

    def squared_distance(self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        return -2 * torch.expm1(-euclidean_distances(a, b) / within(a.dtype, self.bandwidth))


@dataclass(frozen=True)
class InverseMultiquadric:
    """K(a, b) = (1 + |a - b|^2 / (2 h^2))^(-1/2) with h = `bandwidth` > 0 in feature units.

    Characteristic.

    The kernel is c / sqrt(c^2 + |a - b|^2) with c = sqrt(2) h, divided so that K(a, a) = 1. The
    squared distance counts in the unit of the exponent of RBF, but far points keep a slope that
    does not vanish exponentially.
    """

    bandwidth: float

    def __post_init__(self) -> None:
        require_bandwidth(self.bandwidth)

    def gram(self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        return (1 - _minus_half_square(squared_distances(a, b), self.bandwidth)).rsqrt()

    def diagonal(self, a: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return torch.ones_like(a[:, 0])

    def squared_distance(self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """2 (1 - (1 + x)^(-1/2)) with x = |a - b|^2 / (2 h^2)."""
        return -2 * torch.expm1(-torch.log1p(-_minus_half_square(squared_distances(a, b), self.bandwidth)) / 2)


@dataclass(frozen=True)
class MeanOfTaps:
    """K(a, b) = mean over l of K_l(a_l, b_l), where a_l and b_l are the features of tap l.

    The vectors hold the features of several taps side by side; `widths` are the lengths of the a_l.
    A mean of Mercer kernels on parts of a vector is a Mercer kernel. Its MMD^2 is the mean of the
    MMD^2 of the taps. It sees what each tap shows but not how the taps go together, so it is not
    characteristic.
    """

    kernels: tuple[MetricKernel, ...]
    widths: tuple[int, ...]

    def gram(self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        parts = zip(self.kernels, a.split(self.widths, 1), b.split(self.widths, 1), strict=True)
        return torch.stack([kernel.gram(*pair) for kernel, *pair in parts]).mean(0)

    def diagonal(self, a: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        parts = zip(self.kernels, a.split(self.widths, 1), strict=True)
        return torch.stack([kernel.diagonal(part) for kernel, part in parts]).mean(0)

    def squared_distance(self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        parts = zip(self.kernels, a.split(self.widths, 1), b.split(self.widths, 1), strict=True)
        return torch.stack([kernel.squared_distance(*pair) for kernel, *pair in parts]).mean(0)


def require_bandwidth(bandwidth: float) -> None:
    """Raises ValueError unless `bandwidth` is a finite number above 0."""
    if not 0 < bandwidth < float("inf"):
        raise ValueError(f"bandwidth must be a number above 0, not {bandwidth}")


def within(dtype: torch.dtype, bandwidth: float) -> float:
    """The bandwidth, but not below the precision of `dtype`.

    A smaller bandwidth would take 1 / h^2 out of the range of `dtype`, and gradients would be NaN.
    """
    return max(bandwidth, torch.finfo(dtype).eps)


def _minus_half_square(square: Float[Tensor, "n m"], bandwidth: float) -> Float[Tensor, "n m"]:
    """-square / (2 h^2)."""
    h = within(square.dtype, bandwidth)
    return square / (-2 * h * h)


def euclidean_distances(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """|a_i - b_j| for every pair. The gradient at distance 0, where there is none, is set to 0.

    The distance is the root of `squared_distances`. Two equal points are therefore up to sqrt(eps)
    times their distance from the mean of `b` apart.
    """
    square = squared_distances(a, b)
    return square.clamp_min(torch.finfo(square.dtype).tiny).sqrt()


def squared_distances(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """|a_i - b_j|^2 for every pair, as |a|^2 + |b|^2 - 2 <a, b>, clamped at 0.

    Both sets are first shifted by the mean of `b`. The shift does not change distances, and float32
    keeps the digits that subtracting two large norms would lose.
    """
    centre = b.detach().mean(0)
    a, b = a - centre, b - centre
    norms = a.square().sum(-1)[:, None] + b.square().sum(-1)[None, :]
    return (norms - 2 * a @ b.T).clamp_min(0)
