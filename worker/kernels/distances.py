"""Distances that a kernel induces between single points."""

import torch
from jaxtyping import Float
from torch import Tensor

from worker.kernels.kernels import MercerKernel, MetricKernel


def induced_distance(kernel: MercerKernel, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """D_K(a, b) = sqrt(K(a,a) + K(b,b) - 2 K(a,b)), the distance of feature maps.

    See DAP, section 3.3. The square is clamped at the smallest normal number before the root is
    taken, because the slope of the root is infinite at 0.
    """
    square = squared_induced_distance(kernel, a, b)
    return square.clamp_min(torch.finfo(square.dtype).tiny).sqrt()


def squared_induced_distance(kernel: MercerKernel, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """D_K(a, b)^2 = K(a,a) + K(b,b) - 2 K(a,b), clamped at 0.

    It is not a metric, because the triangle inequality needs the root.

    If the kernel is far wider than the distances, or the features are far longer than them, the
    difference keeps few digits. If the kernel can compute its own distance, this function therefore
    uses that.
    """
    if isinstance(kernel, MetricKernel):
        return kernel.squared_distance(a, b).clamp_min(0)
    return (kernel.diagonal(a)[:, None] + kernel.diagonal(b)[None, :] - 2 * kernel.gram(a, b)).clamp_min(0)
