import pytest

from app.domain.job import WarningCode
from worker.evaluation.set_report import METRICS, ClassReport, low_coverage, set_metrics


def report(**metrics):
    usual = dict.fromkeys(METRICS) | {"coverage": 0.0}
    return ClassReport(class_name="a", real=128, **usual | metrics)


def test_a_metric_is_the_mean_over_the_classes_that_have_it():
    one, other = report(coverage=1.0), report(coverage=2.0)
    assert set_metrics([one, other]) == dict.fromkeys(METRICS) | {"coverage": 1.5}
    assert set_metrics([report(coverage=1.0, mmd2=3.0), other]) == dict.fromkeys(METRICS) | {"coverage": 1.5, "mmd2": 3.0}


def test_without_a_class_to_measure_there_are_no_metrics():
    assert set_metrics([]) == {}


def classes(coverage, count=10, expected=0.4):
    return [report(pattern_coverage=coverage, pattern_coverage_expected=expected) for _ in range(count)]


@pytest.mark.parametrize("ipc", [5, 10, 50])
def test_a_set_that_covers_next_to_nothing_is_warned_of_with_what_to_do(ipc):
    warning = low_coverage(classes(0.05 * 0.4), ipc)
    assert warning is not None
    assert warning.code is WarningCode.LOW_COVERAGE
    assert "Look at the preview" in warning.message
    assert low_coverage(classes(0.2 * 0.4), ipc) is None


def test_a_few_images_may_lie_in_gaps_by_chance():
    assert low_coverage(classes(0.0, count=7), 7) is None
    assert low_coverage(classes(0.0, count=10), 5) is not None
    assert low_coverage([], 50) is None


def test_classes_without_the_number_do_not_count():
    of_an_earlier_version = report()
    assert low_coverage([of_an_earlier_version, *classes(None)], 50) is None
    assert low_coverage([of_an_earlier_version, *classes(0.0)], 50) is not None
