"""What the metrics of a set's classes say together, and whether the set lies among the real images at all."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from app.domain.job import JobWarning, WarningCode
from worker.evaluation.metrics import NEIGHBOURS

NEXT_TO_NONE = 0.1  # of the coverage that as many real images have: noise has below 0.07, sets that teach 0.7 and more
IDENTITY = ("class_name", "real")  # what a class's metrics have beside the numbers
ENOUGH_IMAGES = 10  # fewer may all lie in gaps by chance


def set_metrics(classes: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """The mean of each of `class_metrics` over the classes; None where it is None for all of them, {} without classes."""
    names = [name for name in classes[0] if name not in IDENTITY] if classes else []
    return {name: _mean([one[name] for one in classes]) for name in names}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def expected_coverage(images: int, real: int) -> float:
    """The mean coverage of `real` images by so many others of the same law, whatever that is.

    1 - (m - 1) ... (m - k) / ((n + m - 1) ... (n + m - k)) for n images, m real ones and k neighbours (Naeem et al., ICML
    2020, appendix C: only the order of distances counts).
    """
    steps = np.arange(1, NEIGHBOURS + 1)
    return float(1 - np.prod((real - steps) / (images + real - steps)))


def low_coverage(classes: Sequence[Mapping[str, Any]], ipc: int) -> JobWarning | None:
    """The warning of a set that covers next to none of the real images; None where it does, or has too few images to tell.

    `classes` have `coverage` and the number of `real` images. Coverage is a mean over classes, as is what is expected.
    """
    if ipc * len(classes) < ENOUGH_IMAGES:
        return None
    coverage = float(np.mean([one["coverage"] for one in classes]))
    expected = float(np.mean([expected_coverage(ipc, one["real"]) for one in classes]))
    if coverage >= NEXT_TO_NONE * expected:
        return None
    told = (
        f"the images lie far from the real ones, as noise does: they cover {coverage:.2%} of the reference images, "
        f"where as many real images would cover {expected:.2%}. Look at the preview. Choose a backbone that draws these "
        "classes (or train it for longer), more sampling steps, or a smaller guidance.scale"
    )
    return JobWarning(WarningCode.LOW_COVERAGE, told)
