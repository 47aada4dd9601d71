"""The objectives that guidance minimises: the distance of the synthetic images of one class from
its real images.
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from app.domain.spec.guidance import Distance, Guidance, Objective
from worker.kernels.discrepancies import mean_distance_of_all_pairs, mean_of_all_pairs
from worker.kernels.distances import induced_distance, squared_induced_distance
from worker.kernels.kernels import MercerKernel, euclidean_distances

ObjectiveFunction = Callable[
    [MercerKernel, Float[Tensor, "n d"], Float[Tensor, "m d"]],
    Float[Tensor, ""],
]


def mean_induced_distance(
    kernel: MercerKernel, synthetic: Float[Tensor, "n d"], real: Float[Tensor, "m d"]
) -> Float[Tensor, ""]:
    """sum_j mean_i D_K(s_j, r_i), the objective of the paper: -log p(R|x) / gamma of each image
    (DAP, eq. 6-8, Algorithm 1).

    It is a sum over the synthetic images, so the gradient of one of them does not depend on the
    others.
    """
    return induced_distance(kernel, synthetic, real).mean(1).sum()


def mean_squared_induced_distance(
    kernel: MercerKernel, synthetic: Float[Tensor, "n d"], real: Float[Tensor, "m d"]
) -> Float[Tensor, ""]:
    """sum_j mean_i D_K(s_j, r_i)^2, the objective of the paper without its root.

    Its gradient is that of -2 mean_i K(s_j, r_i) + K(s_j, s_j). Real images attract more strongly
    the farther they are, until the kernel vanishes. Under the linear kernel the gradient is 2 (s_j
    - mean_i r_i): the mean acts as the only real image.
    """
    return squared_induced_distance(kernel, synthetic, real).mean(1).sum()


def mmd(kernel: MercerKernel, synthetic: Float[Tensor, "n d"], real: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """MMD^2 of the two sets as a V-statistic, without the mean over pairs of real images, which has
    no gradient.

    The pairs j = k stay in. They make it a squared distance of mean embeddings, which has a minimum
    under every kernel. Without them the repulsion of n images is n / (n - 1) too strong, and under
    a linear or very wide kernel exceeds the attraction.
    """
    return mean_of_all_pairs(kernel, synthetic) - 2 * kernel.gram(synthetic, real).mean()


def energy(_kernel: MercerKernel, synthetic: Float[Tensor, "n d"], real: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """The energy distance of the two sets as a V-statistic, without the mean distance of real
    images from each other.

    It compares distances themselves and uses no kernel. In one dimension its minimum lies at the
    quantiles (j - 1/2) / n of the real images. Without the pairs j = k it would lie at (j - 1) / (n
    - 1), with the outermost images at the edge.
    """
    return 2 * euclidean_distances(synthetic, real).mean() - mean_distance_of_all_pairs(synthetic)


OBJECTIVES: dict[tuple[Objective, Distance], ObjectiveFunction] = {
    (Objective.INDUCED_DISTANCE, Distance.ROOT): mean_induced_distance,
    (Objective.INDUCED_DISTANCE, Distance.SQUARED): mean_squared_induced_distance,
    (Objective.MMD, Distance.ROOT): mmd,
    (Objective.ENERGY, Distance.ROOT): energy,
}


def objective_for(guidance: Guidance) -> ObjectiveFunction:
    """The objective of this guidance.

    Raises KeyError for `none` and `mode`, which compare no features.
    """
    return OBJECTIVES[guidance.objective, guidance.distance]
