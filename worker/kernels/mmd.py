"""Maximum mean discrepancy between two sets (Gretton et al., JMLR 13, 2012)."""

from jaxtyping import Float
from torch import Tensor

from worker.kernels.functions import MercerKernel


def mmd2_biased(kernel: MercerKernel, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """The V-statistic |mu_x - mu_y|^2 of the mean embeddings (eq. 5). Never negative; zero for equal sets."""
    return mean_of_all_pairs(kernel, x) + mean_of_all_pairs(kernel, y) - 2 * kernel.gram(x, y).mean()


def mmd2_unbiased(kernel: MercerKernel, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """The U-statistic (eq. 3): pairs of one point with itself are left out, so its mean is zero for equal laws.

    An estimate to report, not to minimise over the points: it may be negative, and without a lower bound.
    """
    return mean_of_pairs(kernel, x) + mean_of_pairs(kernel, y) - 2 * kernel.gram(x, y).mean()


def mean_of_all_pairs(kernel: MercerKernel, x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """|mu_x|^2, the mean of K(x_i, x_j) over all i and j; K(x_i, x_i) without the rounding of a Gram matrix."""
    gram = kernel.gram(x, x)
    return (gram.sum() - gram.diagonal().sum() + kernel.diagonal(x).sum()) / len(x) ** 2


def mean_of_pairs(kernel: MercerKernel, x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Mean of K(x_i, x_j) over i != j; zero for a single point, which has no pair."""
    n = len(x)
    if n < 2:
        return x.new_zeros(())
    gram = kernel.gram(x, x)
    return (gram.sum() - gram.diagonal().sum()) / (n * (n - 1))
