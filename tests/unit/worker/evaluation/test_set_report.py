import numpy as np
import pytest
import torch

from app.domain.job import WarningCode
from worker.evaluation.metrics import class_metrics
from worker.evaluation.set_report import expected_coverage, low_coverage, set_metrics


def test_a_metric_is_the_mean_over_the_classes_that_have_it():
    one, other = {"class_name": "a", "real": 9, "x": 1.0, "y": None}, {"class_name": "b", "real": 8, "x": 2.0, "y": None}
    assert set_metrics([one, other]) == {"x": 1.5, "y": None}
    assert set_metrics([one | {"y": 3.0}, other]) == {"x": 1.5, "y": 3.0}


def test_without_a_class_to_measure_there_are_no_metrics():
    assert set_metrics([]) == {}


@pytest.mark.parametrize(("images", "real"), [(1, 128), (10, 128), (50, 128), (3, 20)])
@pytest.mark.parametrize("dimensions", [2, 300])
def test_as_many_real_images_have_the_expected_coverage_in_any_dimension(images, real, dimensions):
    g = torch.Generator().manual_seed(images)
    found = [
        class_metrics(torch.randn(images, dimensions, generator=g), torch.randn(real, dimensions, generator=g))["coverage"] or 0
        for _ in range(200)
    ]
    assert expected_coverage(images, real) == pytest.approx(np.mean(found), rel=0.25)


def classes(coverage, count=10):
    return [{"class_name": str(number), "real": 128, "coverage": coverage} for number in range(count)]


@pytest.mark.parametrize("ipc", [1, 10, 50])
def test_a_set_that_covers_next_to_nothing_is_warned_of_with_what_to_do(ipc):
    warning = low_coverage(classes(0.05 * expected_coverage(ipc, 128)), ipc)
    assert warning is not None
    assert warning.code is WarningCode.LOW_COVERAGE
    assert "Look at the preview" in warning.message
    assert low_coverage(classes(0.2 * expected_coverage(ipc, 128)), ipc) is None


def test_a_few_images_may_lie_in_gaps_by_chance():
    assert low_coverage(classes(0.0, count=3), 3) is None
    assert low_coverage(classes(0.0, count=3), 4) is not None
    assert low_coverage([], 50) is None
