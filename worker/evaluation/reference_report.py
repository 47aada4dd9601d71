"""What stood for the real images of a job, and how well, over all classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from worker.guidance.kernel_guidance import EstimatorError
from worker.references.base import ReferenceReport


def merged_references(classes: Sequence[ReferenceReport]) -> dict[str, Any]:
    """The reports of all classes together: counts are added up, errors of projected distances are
    over all classes.
    """
    projected = [each.projection_error_mean for each in classes if each.projection_error_mean is not None]
    largest = [each.projection_error_max for each in classes if each.projection_error_max is not None]
    return {
        "images": sum(each.images for each in classes),
        "references": sum(each.references for each in classes),
        "probed": sum(each.probed for each in classes),
        "bytes": sum(each.bytes for each in classes),
        "widths": list(classes[0].widths),
        "projection_error_mean": _mean(projected),
        "projection_error_max": max(largest, default=None),
    }


def merged_estimator_errors(errors: Sequence[EstimatorError]) -> list[dict[str, Any]]:
    """The error of guidance by the references, over the classes, at each timestep with a probe, in
    the order of sampling.
    """
    timesteps = sorted({error.timestep for error in errors}, reverse=True)
    return [_at_timestep(t, [error for error in errors if error.timestep == t]) for t in timesteps]


def _at_timestep(t: float, errors: Sequence[EstimatorError]) -> dict[str, Any]:
    """Means over the classes that guidance moved at all; None if there is none."""
    moved = {error.class_name: error.relative_error for error in errors if error.relative_error is not None}
    worst = max(moved, key=lambda name: moved[name], default=None)
    return {
        "timestep": t,
        "relative_error": _mean(list(moved.values())),
        "cosine": _mean([error.cosine for error in errors if error.cosine is not None]),
        "worst_class": worst,
        "worst_relative_error": None if worst is None else moved[worst],
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
