"""Distances that a kernel induces between single points."""

import torch
from jaxtyping import Float
from torch import Tensor

from worker.kernels.functions import Linear, MercerKernel, squared_distances


def induced_distance(kernel: MercerKernel, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """D_K(a, b) = sqrt(K(a,a) + K(b,b) - 2 K(a,b)): the distance of feature maps (DAP, section 3.3).

    The square is clamped at the smallest normal number before the root, whose slope is infinite at 0.
    """
    square = squared_induced_distance(kernel, a, b)
    return square.clamp_min(torch.finfo(square.dtype).tiny).sqrt()


def squared_induced_distance(kernel: MercerKernel, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """D_K(a, b)^2 = K(a,a) + K(b,b) - 2 K(a,b), clamped at 0. No metric: the triangle inequality needs the root.

    Under the linear kernel |a - b|^2, computed as such: its norms may be far larger than its distances.
    """
    if isinstance(kernel, Linear):
        return squared_distances(a, b)
    return (kernel.diagonal(a)[:, None] + kernel.diagonal(b)[None, :] - 2 * kernel.gram(a, b)).clamp_min(0)
