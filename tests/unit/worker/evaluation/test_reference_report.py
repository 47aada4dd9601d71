import pytest

from worker.evaluation.reference_report import merged_estimator_errors, merged_references
from worker.guidance.kernel_guidance import EstimatorError
from worker.references.base import ReferenceReport


def test_errors_are_told_for_each_timestep_over_the_classes_that_were_moved():
    merged = merged_estimator_errors(
        [
            EstimatorError(8.0, "a", 0.1, 0.9),
            EstimatorError(8.0, "b", 0.3, 0.7),
            EstimatorError(8.0, "c", None, None),
            EstimatorError(2.0, "c", None, None),
        ]
    )
    assert merged[0] == {
        "timestep": 8,
        "relative_error": pytest.approx(0.2),
        "cosine": pytest.approx(0.8),
        "worst_class": "b",
        "worst_relative_error": 0.3,
    }
    assert merged[1] == {"timestep": 2} | dict.fromkeys(("relative_error", "cosine", "worst_class", "worst_relative_error"))


def report(images: int, mean: float | None, largest: float | None) -> ReferenceReport:
    return ReferenceReport(images, min(images, 5), 0, (3, 4), 100, mean, largest)


def test_counts_are_added_up_and_errors_are_over_the_classes_that_have_them():
    assert merged_references([report(4, 0.1, 0.2), report(9, None, None), report(6, 0.3, 0.5)]) == {
        "images": 19,
        "references": 14,
        "probed": 0,
        "bytes": 300,
        "widths": [3, 4],
        "projection_error_mean": pytest.approx(0.2),
        "projection_error_max": 0.5,
    }
    assert merged_references([report(9, None, None)])["projection_error_mean"] is None
