"""The contract between the sampling loop and guidance."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from worker.backbones.base import Timestep
from worker.references.base import TapPoint

Vjp = Callable[[Float[Tensor, "n d"]], Float[Tensor, "n c h w"]]
"""Vector-Jacobian product of the features: v -> v . d features / d x_t."""


@dataclass(frozen=True)
class StepState:
    """What the sampling loop knows before it moves from x_t at timestep t to `t_prev` (None: to
    x_0).

    `prediction` is the output of the backbone. `features` and `vjp` belong to the tapped features
    of the same pass; both are None if no tap was asked for.
    """

    x_t: Float[Tensor, "n c h w"]
    t: Timestep
    t_prev: Timestep | None
    prediction: Float[Tensor, "n c2 h w"]
    features: Float[Tensor, "n d"] | None = None
    vjp: Vjp | None = None


@runtime_checkable
class Direction(Protocol):
    """The direction in which guidance moves a batch."""

    @property
    def tap(self) -> TapPoint | None:
        """Where the direction needs features; None if it needs none, and then autograd records
        nothing.
        """
        ...

    def __call__(self, state: StepState) -> Float[Tensor, "n c h w"]:
        """g_t, the direction to move x_t. Its length is scaled afterwards."""
        ...
