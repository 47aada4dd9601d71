"""Discrepancies between two sets of points: maximum mean discrepancy and energy distance.

MMD: Gretton et al., JMLR 13, 2012. Energy distance: Szekely and Rizzo, J. Stat. Plan. Inference
143, 2013.
"""

from jaxtyping import Float
from torch import Tensor

from worker.kernels.kernels import MercerKernel, euclidean_distances


def mmd2_unbiased(kernel: MercerKernel, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """The U-statistic of MMD^2 (Gretton et al., eq. 3).

    It leaves out the pairs i = j, so its mean is 0 for equal laws.

    Use it to report, not to minimise over the points: it can be negative and has no lower bound.
    """
    return mean_of_pairs(kernel, x) + mean_of_pairs(kernel, y) - 2 * kernel.gram(x, y).mean()


def mean_of_pairs(kernel: MercerKernel, x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Mean of K(x_i, x_j) over i != j. A single point has no pair; its mean is 0."""
    n = len(x)
    if n < 2:
        return x.new_zeros(())
    gram = kernel.gram(x, x)
    return (gram.sum() - gram.diagonal().sum()) / (n * (n - 1))


def mean_of_all_pairs(kernel: MercerKernel, x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """|mu_x|^2, the mean of K(x_i, x_j) over all i and j.

    K(x_i, x_i) is exact, without the rounding of a Gram matrix.
    """
    gram = kernel.gram(x, x)
    return (gram.sum() - gram.diagonal().sum() + kernel.diagonal(x).sum()) / len(x) ** 2


def mean_distance_of_all_pairs(x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Mean of |x_i - x_j| over all i and j. The distance of a point from itself is exactly 0."""
    distances = euclidean_distances(x, x)
    return (distances.sum() - distances.diagonal().sum()) / len(x) ** 2
