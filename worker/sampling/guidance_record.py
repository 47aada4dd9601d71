"""What a guide noted while it guided, added up over the images of a task as JSON."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from worker.sampling.direction import Target
from worker.sampling.guide import Guide
from worker.sampling.kernel_direction import MedianDistance


def median_distance(guide: Guide | None) -> list[dict[str, Any]]:
    """For each timestep and tapped block the median distance between real features: over `classes` their mean and extremes."""
    noted = () if guide is None else guide.median_distances
    ordered = sorted(noted, key=_place)
    return [_over_classes([one.distance for one in same], *place) for place, same in groupby(ordered, _place)]


def without_gradient(guide: Guide | None, targets: Sequence[Target]) -> dict[str, Any]:
    """The number of images that had no gradient `per_step`, a guided one, and the number of such steps `per_class`."""
    steps = [] if guide is None else guide.without_gradient
    return {
        "per_step": [int(images.sum()) for images in steps],
        "per_class": {target.class_name: sum(int(images[target.rows].sum()) for images in steps) for target in targets},
    }


def _place(noted: MedianDistance) -> tuple[float, int]:
    return -noted.timestep, noted.block  # in the order of sampling


def _over_classes(distances: Sequence[float], minus_timestep: float, block: int) -> dict[str, Any]:
    return {
        "timestep": -minus_timestep,
        "block": block,
        "classes": len(distances),
        "mean": sum(distances) / len(distances),
        "smallest": min(distances),
        "largest": max(distances),
    }
