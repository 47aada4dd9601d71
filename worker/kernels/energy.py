"""Energy distance between two sets (Szekely and Rizzo, J. Stat. Plan. Inference 143, 2013)."""

from jaxtyping import Float
from torch import Tensor

from worker.kernels.functions import euclidean_distances


def energy_distance(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """2 E|x - y| - E|x - x'| - E|y - y'|, unbiased: pairs of one point with itself are left out. Zero mean for equal laws.

    It has no bandwidth. Twice the MMD^2 of the kernel (|a| + |b| - |a - b|) / 2 (Sejdinovic et al., Ann. Stat. 41, 2013,
    theorem 22), so it sees every difference between laws with a mean.
    """
    return 2 * euclidean_distances(x, y).mean() - mean_distance_within(x) - mean_distance_within(y)


def mean_distance_within(x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Mean of |x_i - x_j| over i != j; zero for a single point, which has no pair."""
    return _sum_of_distances(x) / max(1, len(x) * (len(x) - 1))


def mean_distance_of_all_pairs(x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Mean of |x_i - x_j| over all i and j, the n zeros of a point to itself among them."""
    return _sum_of_distances(x) / len(x) ** 2


def _sum_of_distances(x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Sum of |x_i - x_j| over all i and j; a point's distance from itself is 0 without rounding."""
    distances = euclidean_distances(x, x)
    return distances.sum() - distances.diagonal().sum()
