"""Discrepancies that the product does not compute, to compare its objectives and rankings with."""

from torch import Tensor

from worker.kernels.discrepancies import mean_distance_of_all_pairs, mean_of_all_pairs
from worker.kernels.kernels import MercerKernel, euclidean_distances


def mmd2_biased(kernel: MercerKernel, x: Tensor, y: Tensor) -> Tensor:
    """The V-statistic |mu_x - mu_y|^2 (Gretton et al., JMLR 13, 2012, eq. 5). Never negative; zero for equal sets."""
    return mean_of_all_pairs(kernel, x) + mean_of_all_pairs(kernel, y) - 2 * kernel.gram(x, y).mean()


def energy_biased(x: Tensor, y: Tensor) -> Tensor:
    """2 E|x - y| - E|x - x'| - E|y - y'| over all pairs."""
    return 2 * euclidean_distances(x, y).mean() - mean_distance_of_all_pairs(x) - mean_distance_of_all_pairs(y)


def energy_unbiased(x: Tensor, y: Tensor) -> Tensor:
    """The same without the pairs of one point."""
    within = [mean_distance_of_all_pairs(z) * len(z) / max(1, len(z) - 1) for z in (x, y)]
    return 2 * euclidean_distances(x, y).mean() - within[0] - within[1]
