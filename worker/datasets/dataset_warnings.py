"""Warnings about the reading of a dataset."""

from collections.abc import Sequence

import numpy as np

from app.domain.job import JobWarning, WarningCode
from worker.datasets.base import Dataset

NAMED = 3


def dataset_warnings(dataset: Dataset, *, evaluated: bool = False) -> list[JobWarning]:
    """Warnings about files left out, the chosen interpretation and untested classes."""
    damaged = (
        [f"files that cannot be used: {dataset.bad_count:,} ({_some(dataset.bad_files, '; ')})"] if dataset.bad_count else []
    )
    left_out = (*damaged, *dataset.left_out)
    warnings = []
    if left_out:
        warnings.append(JobWarning(WarningCode.DATASET_LEFT_OUT, f"left out of the dataset: {'; '.join(left_out)}"))
    if dataset.doubts:
        warnings.append(JobWarning(WarningCode.DATASET_DOUBTFUL, f"how the dataset was read: {'; '.join(dataset.doubts)}"))
    if evaluated:
        warnings += [*_untested(dataset), *_leaked(dataset)]
    return warnings


def _untested(dataset: Dataset) -> list[JobWarning]:
    if len(dataset.classes) == 1:
        told = "the dataset has one class, which every classifier names right: the accuracies say nothing"
        return [JobWarning(WarningCode.EVALUATION_INCOMPLETE, told)]
    counts = np.bincount(dataset.test.labels, minlength=len(dataset.classes))
    names = [name for name, count in zip(dataset.classes, counts, strict=True) if not count]
    if not names:
        return []
    told = f"the test split has no image of {len(names)} of {len(dataset.classes)} classes ({_some(names, ', ')})"
    return [JobWarning(WarningCode.EVALUATION_INCOMPLETE, f"{told}: the accuracies speak of the others only")]


def _leaked(dataset: Dataset) -> list[JobWarning]:
    """For the whole test split as it was imported, whatever classes the job chose."""
    if not dataset.leaked:
        return []
    told = f"images of the test split whose picture is also in the training split: {dataset.leaked:,}"
    return [JobWarning(WarningCode.TEST_LEAKED, f"{told} ({_some(dataset.leaks, ', ')}); the accuracies may be too high")]


def _some(names: Sequence[str], between: str) -> str:
    return between.join(names[:NAMED]) + (f"{between}…" if len(names) > NAMED else "")
