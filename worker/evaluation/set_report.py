"""What the metrics of a set's classes say together, and whether the set lies among the real images at all."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.job import JobWarning, WarningCode

NEXT_TO_NONE = 0.1  # of the coverage that as many real images have: noise has below 0.04, real photos and digits above 0.6
IDENTITY = ("class_name", "real")  # what a class's metrics have beside the numbers
ENOUGH_IMAGES = 50  # fewer may all lie in gaps by chance


def set_metrics(classes: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """The mean of each of `class_metrics` over the classes; None where it is None for all of them, {} without classes."""
    names = [name for name in classes[0] if name not in IDENTITY] if classes else []
    return {name: _mean([one[name] for one in classes]) for name in names}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def low_coverage(classes: Sequence[Mapping[str, Any]], ipc: int) -> JobWarning | None:
    """The warning of a set that covers next to none of the real images; None where it does, or has too few images to tell.

    `classes` have the numbers of `pattern_coverage`, or lack them in an earlier version's tasks. Coverage is a mean over
    classes, as is what is expected.
    """
    known = [one for one in classes if one.get("pattern_coverage") is not None]
    if ipc * len(known) < ENOUGH_IMAGES:
        return None
    coverage = statistics.fmean(one["pattern_coverage"] for one in known)
    expected = statistics.fmean(one["pattern_coverage_expected"] for one in known)
    if coverage >= NEXT_TO_NONE * expected:
        return None
    told = (
        f"the images lie far from the real ones, as noise does: whatever their contrast, they cover {coverage:.2%} of the "
        f"reference images, where as many real images would cover {expected:.2%}. Look at the preview. Choose a backbone "
        "that draws these classes (or train it for longer), more sampling steps, or a smaller guidance.scale"
    )
    return JobWarning(WarningCode.LOW_COVERAGE, told)
