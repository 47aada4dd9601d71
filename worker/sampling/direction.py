"""What guidance is asked at every step, and what it answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from worker.backbones.base import Conditions, Timestep
from worker.guidance.features import FeatureMap


@runtime_checkable
class Reference(Protocol):
    """Features of the m images that stand for all real ones of their class.

    `widths` are those of each tap; `about` tells how they were made, for the job's metrics.
    """

    @property
    def widths(self) -> tuple[int, ...]: ...

    @property
    def about(self) -> Mapping[str, Any]: ...

    @property
    def clean(self) -> Float[Tensor, "m d"]:
        """Of the images themselves."""
        ...

    @property
    def thumbnails(self) -> Float[Tensor, "m k"]:
        """Small copies of the images' latents."""
        ...

    def at(self, t: Timestep) -> Float[Tensor, "m d"]:
        """Of the images noised to t."""
        ...

    def probe_at(self, t: Timestep) -> Float[Tensor, "p d"] | None:
        """Of the whole class noised to t, to tell what the m are worth; None at most timesteps."""
        ...


@dataclass(frozen=True)
class Target:
    """The rows of the batch that belong to one class, what is to be drawn there, and what stands for its real images.

    `conditions` is one row. There is one mode per row of the batch, and none at all where guidance does not ask for them.
    """

    class_name: str
    conditions: Conditions
    rows: slice
    reference: Reference
    modes: Float[Tensor, "k c h w"] | None = None


@dataclass(frozen=True)
class Tap:
    """The numbers of the blocks whose hidden states are compared, and what of these."""

    blocks: tuple[int, ...]
    features: FeatureMap


Pull = Callable[[Float[Tensor, "n d"]], Float[Tensor, "n c h w"]]


@dataclass(frozen=True)
class StepState:
    """What the sampling loop knows before it moves from x_t at timestep t to the `earlier` one (None: to x_0).

    `prediction` is the backbone's. `features` are the tapped ones of that pass, if a tap was asked for; `pull` carries a vector
    for each of them back to x_t, as backpropagation does: v -> v . d features / d x_t.
    """

    x_t: Float[Tensor, "n c h w"]
    t: Timestep
    earlier: Timestep | None
    prediction: Float[Tensor, "n c2 h w"]
    features: Float[Tensor, "n d"] | None = None
    pull: Pull | None = None


@runtime_checkable
class Direction(Protocol):
    """Where guidance moves a batch."""

    @property
    def tap(self) -> Tap | None:
        """What it compares; None if it needs no features, and then autograd records nothing."""
        ...

    def __call__(self, state: StepState) -> Float[Tensor, "n c h w"]:
        """g_t: the way to move x_t, its length to be scaled by gamma."""
        ...
