import pytest

from app.domain.job import WarningCode
from tests.unit.worker import tiny
from worker.evaluation.guidance_report import fraction_without_gradient, guidance_vanished, merged_distances
from worker.guidance.diagnostics import MedianDistanceSummary, WithoutGradient


def spec(**fields):
    return tiny.spec(ipc=2, sampling={"steps": 4}, **fields)


def summary(timestep, classes, mean):
    return MedianDistanceSummary(timestep, 1, classes, mean, smallest=mean - 1, largest=mean + 1)


TWO_TASKS = [WithoutGradient((4, 4, 4, 0), {"a": 6, "b": 6}), WithoutGradient((0, 2, 0, 0), {"c": 2})]


def test_the_fraction_of_images_is_over_all_tasks_and_of_guided_steps_only():
    assert fraction_without_gradient(spec(), TWO_TASKS) == pytest.approx([4 / 6, 1, 4 / 6, 0])
    late = spec(guidance={"start": 0.5})
    assert fraction_without_gradient(late, [WithoutGradient((1, 2), {"a": 3})]) == [None, None, 0.5, 1]


@pytest.mark.parametrize(
    "tasks",
    [[], [WithoutGradient()], [WithoutGradient((), {"a": 0})]],
    ids=["none", "of an earlier version", "unguided"],
)
def test_what_was_not_recorded_is_not_reported(tasks):
    assert fraction_without_gradient(spec(), tasks) == [None] * 4
    assert guidance_vanished(spec(), tasks, []) is None


def test_distances_of_all_tasks_are_weighed_by_their_classes():
    assert merged_distances([summary(9.0, 2, 10.0), summary(3.0, 2, 30.0), summary(9.0, 1, 16.0), summary(3.0, 1, 30.0)]) == [
        MedianDistanceSummary(9.0, 1, 3, 12.0, smallest=9.0, largest=17.0),
        MedianDistanceSummary(3.0, 1, 3, 30.0, smallest=29.0, largest=31.0),
    ]


def test_a_job_most_of_whose_guided_steps_had_no_gradient_is_warned_of_it_with_what_to_do():
    warning = guidance_vanished(
        spec(kernel_bandwidth=0.5),
        [WithoutGradient((4, 4, 4, 2), {"a": 7, "b": 7})],
        [summary(9.0, 2, 10.0), summary(3.0, 2, 30.0)],
    )
    assert warning is not None
    assert warning.code is WarningCode.GUIDANCE_VANISHED
    assert warning.message == (
        "14 of 16 guided steps had no gradient, counted for each image, so these images are hardly guided. The median distance "
        "between real images is about 10 to 30, by timestep, and kernel_bandwidth is 0.5: use kernel_bandwidth "
        '"median" or a multiple of it such as "0.5x".'
    )


def test_half_of_the_steps_are_not_most():
    assert guidance_vanished(spec(), [WithoutGradient((2, 2, 0, 0), {"a": 4})], [summary(9.0, 1, 5.0)]) is None
    assert guidance_vanished(spec(), [WithoutGradient((2, 2, 1, 0), {"a": 5})], [summary(9.0, 1, 5.0)]) is not None


def test_a_class_without_gradients_among_others_that_have_them_is_named():
    warning = guidance_vanished(spec(), TWO_TASKS, [])
    assert warning is not None
    assert warning.message.startswith("12 of 16 guided steps in 2 of 3 classes (a, b) had no gradient")


def test_only_a_few_classes_are_named():
    counts = {f"c{number}": 8 for number in range(9)} | {"good": 0}
    warning = guidance_vanished(spec(), [WithoutGradient((18,) * 4, counts)], [summary(9.0, 1, 5.0)])
    assert warning is not None
    assert "in 9 of 10 classes (c0, c1, c2, c3, c4, ...)" in warning.message


@pytest.mark.parametrize(
    "fields", [{"guidance": {"objective": "energy"}}, {"guidance": {"objective": "mode"}}, {"kernel": "linear"}], ids=str
)
def test_no_bandwidth_is_advised_where_there_is_none(fields):
    warning = guidance_vanished(spec(**fields), [WithoutGradient((2,) * 4, {"a": 8})], [summary(9.0, 1, 5.0)])
    assert warning is not None
    assert "bandwidth" not in warning.message


@pytest.mark.parametrize(("bandwidth", "shown"), [("0.001x", '"0.001x"'), ([1, "0.5x"], '[1, "0.5x"]'), (2e-5, "2e-05")])
def test_the_warning_repeats_the_bandwidth_as_it_was_given(bandwidth, shown):
    warning = guidance_vanished(spec(kernel_bandwidth=bandwidth), [WithoutGradient((2,) * 4, {"a": 8})], [summary(9.0, 1, 5.0)])
    assert warning is not None
    assert f"is about 5, by timestep, and kernel_bandwidth is {shown}: use" in warning.message
