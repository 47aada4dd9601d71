"""What guidance minimises: how far the synthetic images of one class are from its real ones, in feature space."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from app.domain.spec import Objective
from worker.kernels.distances import induced_distance
from worker.kernels.functions import MercerKernel
from worker.kernels.mmd import mmd2_unbiased

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


OBJECTIVES: dict[Objective, ObjectiveFunction] = {
    Objective.INDUCED_DISTANCE: mean_induced_distance,
    Objective.MMD: mmd2_unbiased,
}
