"""What guidance is asked at every step, and what it answers."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Target:
    """The rows of the batch that belong to one class, and what stands for its real images: latents of some, and modes.

    There is one mode per row, and none at all where guidance does not ask for them.
    """

    class_name: str
    label: int
    rows: slice
    reference: Float[Tensor, "m c h w"]
    modes: Float[Tensor, "k c h w"] | None = None


@dataclass(frozen=True)
class StepState:
    """What the sampling loop knows before it moves from x_t at timestep t to the `earlier` one (None: to x_0).

    `eps` is the noise that the backbone predicts in x_t; `features` are the tapped ones of that pass, and depend on `x_t` for
    autograd, if a tap was asked for.
    """

    x_t: Float[Tensor, "n c h w"]
    t: Int[Tensor, ""]
    earlier: Int[Tensor, ""] | None
    eps: Float[Tensor, "n c h w"]
    features: Float[Tensor, "n d"] | None = None


@runtime_checkable
class Direction(Protocol):
    """Where guidance moves a batch."""

    @property
    def tap(self) -> int | None:
        """The block whose features it needs; None if it needs none, and then autograd records nothing."""
        ...

    def __call__(self, state: StepState) -> Float[Tensor, "n c h w"]:
        """g_t: the way to move x_t, its length to be scaled by gamma."""
        ...
