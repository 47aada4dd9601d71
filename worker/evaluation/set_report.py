"""The metrics of all classes of a set together, and whether the set lies among the real images at
all.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields

from app.domain.job import JobWarning, WarningCode

NEXT_TO_NONE = 0.1  # of the coverage that as many real images have: noise has below 0.04, real photos and digits above 0.6
ENOUGH_IMAGES = 50  # fewer may all lie in gaps by chance


@dataclass(frozen=True, kw_only=True)
class ClassReport:
    """How the synthetic images of one class lie among `real` reference images of it.

    The numbers are those of `class_metrics` and `pattern_coverage`. An earlier version measured no
    pattern coverage.
    """

    class_name: str
    real: int
    mmd2: float | None
    diversity: float | None
    real_diversity: float | None
    density: float | None
    coverage: float | None
    nearest_real: float | None
    real_to_real: float | None
    pattern_coverage: float | None = None
    pattern_coverage_expected: float | None = None


METRICS = tuple(each.name for each in fields(ClassReport) if each.name not in ("class_name", "real"))


def set_metrics(classes: Sequence[ClassReport]) -> dict[str, float | None]:
    """The mean of each metric over the classes.

    It is None where all of them have None; {} without classes.
    """
    return {name: _mean([getattr(each, name) for each in classes]) for name in METRICS} if classes else {}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def low_coverage(classes: Sequence[ClassReport], ipc: int) -> JobWarning | None:
    """A warning if the set covers next to none of the real images.

    None if it covers them, or has too few images to tell.

    Coverage is a mean over classes, and so is the coverage that is expected.
    """
    known = [each for each in classes if each.pattern_coverage is not None and each.pattern_coverage_expected is not None]
    if ipc * len(known) < ENOUGH_IMAGES:
        return None
    coverage = statistics.fmean(each.pattern_coverage or 0.0 for each in known)
    expected = statistics.fmean(each.pattern_coverage_expected or 0.0 for each in known)
    if coverage >= NEXT_TO_NONE * expected:
        return None
    message = (
        f"the images lie far from the real ones, as noise does: whatever their contrast, they cover {coverage:.2%} of the "
        f"reference images, where as many real images would cover {expected:.2%}. Look at the preview. Choose a backbone "
        "that draws these classes (or train it for longer), more sampling steps, or a smaller guidance.scale"
    )
    return JobWarning(WarningCode.LOW_COVERAGE, message)
