"""Numbers to test the mathematics on, and derivatives without autograd."""

from collections.abc import Callable

import torch
from torch import Tensor

from worker.seeds import generator


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=generator("test", seed), dtype=dtype)


def central_differences(f: Callable[[Tensor], Tensor], x: Tensor, h: float = 1e-5) -> Tensor:
    """(f(x + h e_i) - f(x - h e_i)) / 2h for every entry of x; exact to about 1e-9 for smooth f of order 1 in float64."""
    slopes = []
    for i in range(x.numel()):
        e = torch.zeros(x.numel(), dtype=x.dtype)
        e[i] = h
        e = e.view_as(x)
        slopes.append((f(x + e) - f(x - e)) / (2 * h))
    return torch.stack(slopes).view_as(x)
