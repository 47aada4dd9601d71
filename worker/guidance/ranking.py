"""Rank the synthetic images of a class so that every prefix is a good smaller set."""

import torch
from jaxtyping import Float
from torch import Tensor

from worker.kernels.kernels import MercerKernel


def herding_order(kernel: MercerKernel, synthetic: Float[Tensor, "n d"], real: Float[Tensor, "m d"]) -> list[int]:
    """Greedy kernel herding: each next image minimises the MMD^2 (V-statistic) of the images chosen
    so far and itself.

    argmax_x mean_i K(x, r_i) - (sum_chosen K(x, s) + K(x, x) / 2) / (chosen + 1): Chen, Welling and
    Smola, UAI 2010, eq. 8, restricted to the given images, each taken once. They leave out K(x, x),
    which is the same for all x under a kernel of the distance. Under other kernels the longest
    feature vectors would come first.
    """
    attraction = kernel.gram(synthetic, real).mean(1)
    gram = kernel.gram(synthetic, synthetic)
    repulsion = kernel.diagonal(synthetic) / 2
    order: list[int] = []
    for taken in range(len(synthetic)):
        score = attraction - repulsion / (taken + 1)
        score[order] = -torch.inf
        order.append(int(score.argmax()))
        repulsion = repulsion + gram[:, order[-1]]
    return order
