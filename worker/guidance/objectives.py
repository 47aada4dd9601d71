"""What guidance minimises: how far the synthetic images of one class are from its real ones, in feature space."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from app.domain.spec import Distance, Guidance, Objective
from worker.kernels.distances import induced_distance, squared_induced_distance
from worker.kernels.energy import mean_distance_of_all_pairs
from worker.kernels.functions import MercerKernel, euclidean_distances
from worker.kernels.mmd import mean_of_all_pairs

ObjectiveFunction = Callable[
    [MercerKernel, Float[Tensor, "n d"], Float[Tensor, "m d"]],
    Float[Tensor, ""],
]


def mean_induced_distance(
    kernel: MercerKernel, synthetic: Float[Tensor, "n d"], real: Float[Tensor, "m d"]
) -> Float[Tensor, ""]:
    """sum_j mean_i D_K(s_j, r_i): the paper's, -log p(R|x) / gamma of every image (DAP, eq. 6-8, Algorithm 1).

    A sum over the synthetic images: the gradient of one of them does not depend on the others.
    """
    return induced_distance(kernel, synthetic, real).mean(1).sum()


def mean_squared_induced_distance(
    kernel: MercerKernel, synthetic: Float[Tensor, "n d"], real: Float[Tensor, "m d"]
) -> Float[Tensor, ""]:
    """sum_j mean_i D_K(s_j, r_i)^2: the paper's without its root.

    Its gradient is that of -2 mean_i K(s_j, r_i) + K(s_j, s_j): real images pull the more the farther they are, until the
    kernel loses sight of them. Under the linear kernel it is 2 (s_j - mean_i r_i), the same as of one real image, the mean.
    """
    return squared_induced_distance(kernel, synthetic, real).mean(1).sum()


def mmd(kernel: MercerKernel, synthetic: Float[Tensor, "n d"], real: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """The MMD^2 of the two sets, a V-statistic, up to the mean over pairs of real images, which has no gradient.

    The pairs j = k stay in: they make it a squared distance of mean embeddings, which has a minimum with every kernel. Without
    them the repulsion of n images is n / (n - 1) too strong, and more than the attraction under a linear or very wide kernel.
    """
    return mean_of_all_pairs(kernel, synthetic) - 2 * kernel.gram(synthetic, real).mean()


def energy(_kernel: MercerKernel, synthetic: Float[Tensor, "n d"], real: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """The energy distance of the two sets, a V-statistic like `mmd`, up to that of real images among themselves.

    A kernel is not asked: distances themselves are compared. In one dimension the minimum lies at the quantiles (j - 1/2) / n
    of the real images; without the pairs j = k it would lie at (j - 1) / (n - 1), the outermost images at the edge.
    """
    return 2 * euclidean_distances(synthetic, real).mean() - mean_distance_of_all_pairs(synthetic)


OBJECTIVES: dict[tuple[Objective, Distance], ObjectiveFunction] = {
    (Objective.INDUCED_DISTANCE, Distance.ROOT): mean_induced_distance,
    (Objective.INDUCED_DISTANCE, Distance.SQUARED): mean_squared_induced_distance,
    (Objective.MMD, Distance.ROOT): mmd,
    (Objective.ENERGY, Distance.ROOT): energy,
}


def objective_for(guidance: Guidance) -> ObjectiveFunction:
    """What this guidance minimises. Raises KeyError for `none` and `mode`, which compare no features."""
    return OBJECTIVES[guidance.objective, guidance.distance]
