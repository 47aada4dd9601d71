"""What guidance recorded while it acted, summed up over the images of a task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from worker.guidance.guidance import GuidanceTerm
from worker.guidance.kernel_guidance import MedianDistance
from worker.references.base import Target


@dataclass(frozen=True)
class MedianDistanceSummary:
    """The median distance between real features at one timestep and block: mean and extremes over
    `classes` classes.
    """

    timestep: float
    block: int
    classes: int
    mean: float
    smallest: float
    largest: float

    @property
    def place(self) -> tuple[float, int]:
        """Sorts in the order of sampling."""
        return -self.timestep, self.block


@dataclass(frozen=True)
class WithoutGradient:
    """Images that had no gradient: how many at each guided step, and how many steps of each class,
    counted per image.
    """

    per_step: tuple[int, ...] = ()
    per_class: Mapping[str, int] = field(default_factory=dict[str, int])


def median_distances(guidance: GuidanceTerm | None) -> tuple[MedianDistanceSummary, ...]:
    """One summary per timestep and tapped block, in the order of sampling."""
    recorded = () if guidance is None else guidance.median_distances
    ordered = sorted(recorded, key=_place)
    return tuple(_summary([each.distance for each in same], *place) for place, same in groupby(ordered, _place))


def without_gradient(guidance: GuidanceTerm | None, targets: Sequence[Target]) -> WithoutGradient:
    """The images that guidance left alone."""
    steps = [] if guidance is None else guidance.without_gradient
    return WithoutGradient(
        tuple(int(images.sum()) for images in steps),
        {target.class_name: sum(int(images[target.rows].sum()) for images in steps) for target in targets},
    )


def _place(recorded: MedianDistance) -> tuple[float, int]:
    return -recorded.timestep, recorded.block


def _summary(distances: Sequence[float], minus_timestep: float, block: int) -> MedianDistanceSummary:
    return MedianDistanceSummary(
        timestep=-minus_timestep,
        block=block,
        classes=len(distances),
        mean=sum(distances) / len(distances),
        smallest=min(distances),
        largest=max(distances),
    )
