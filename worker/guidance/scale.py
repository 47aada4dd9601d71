"""The length of a guidance step."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from app.domain.spec.guidance import ScaleMode

ScaleFunction = Callable[
    [Float[Tensor, "n c h w"], Float[Tensor, "n c h w"], float],
    Float[Tensor, "n c h w"],
]


def paper(gradient: Float[Tensor, "n c h w"], _step: Float[Tensor, "n c h w"], scale: float) -> Float[Tensor, "n c h w"]:
    """gamma * g_t (DAP, Algorithm 1)."""
    return scale * gradient


def relative(gradient: Float[Tensor, "n c h w"], step: Float[Tensor, "n c h w"], scale: float) -> Float[Tensor, "n c h w"]:
    """gamma * |x_{t-1} - x_t| * g_t / |g_t| per image: gamma counts in lengths of the scheduler's
    own step.

    A zero gradient stays zero. Lengths are float64: in float32 the squares of a gradient that a
    narrow kernel has nearly extinguished vanish, and dividing by their root would give unbounded
    guidance.
    """
    length = norms(step.double()) / norms(gradient.double()).clamp_min(torch.finfo(torch.float32).tiny)
    return (scale * length[:, None, None, None] * gradient).to(gradient.dtype)


def without_effect(
    guidance: Float[Tensor, "n c h w"], gradient: Float[Tensor, "n c h w"], step: Float[Tensor, "n c h w"]
) -> Bool[Tensor, " n"]:
    """True for images that guidance does not move: the gradient is 0 or underflows, or rounding
    loses it beside the step.
    """
    limits = torch.finfo(torch.float32)
    vanished = norms(gradient.double()) < limits.tiny
    return vanished | (norms(guidance.double()) < limits.eps * norms(step.double()))


def norms(x: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """Euclidean length of each image of the batch."""
    return x.flatten(1).norm(dim=1)


SCALES: dict[ScaleMode, ScaleFunction] = {ScaleMode.PAPER: paper, ScaleMode.RELATIVE: relative}
