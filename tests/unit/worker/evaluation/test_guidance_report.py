import pytest

from app.domain.job import WarningCode
from tests.unit.worker import tiny
from worker.evaluation.guidance_report import fraction_without_gradient, guidance_vanished, median_distances


def spec(**fields):
    return tiny.spec(ipc=2, sampling={"steps": 4}, **fields)


def output(per_step, per_class, *distances):
    medians = [
        {"timestep": t, "block": 1, "classes": n, "mean": mean, "smallest": mean - 1, "largest": mean + 1}
        for t, n, mean in distances
    ]
    return {"without_gradient": {"per_step": per_step, "per_class": per_class}, "median_distance": medians}


TWO_TASKS = [
    output([4, 4, 4, 0], {"a": 6, "b": 6}, (9, 2, 10.0), (3, 2, 30.0)),
    output([0, 2, 0, 0], {"c": 2}, (9, 1, 16.0), (3, 1, 30.0)),
]


def test_the_fraction_of_images_is_over_all_tasks_and_of_guided_steps_only():
    assert fraction_without_gradient(spec(), TWO_TASKS) == pytest.approx([4 / 6, 1, 4 / 6, 0])
    late = spec(guidance={"start": 0.5})
    assert fraction_without_gradient(late, [output([1, 2], {"a": 3})]) == [None, None, 0.5, 1]


@pytest.mark.parametrize("outputs", [[], [{}], [output([], {"a": 0})]], ids=["none", "of an earlier version", "unguided"])
def test_what_was_not_noted_is_not_reported(outputs):
    assert fraction_without_gradient(spec(), outputs) == [None] * 4
    assert median_distances(outputs) == []
    assert guidance_vanished(spec(), outputs) is None


def test_distances_of_all_tasks_are_weighed_by_their_classes():
    assert median_distances(TWO_TASKS) == [
        {"timestep": 9, "block": 1, "classes": 3, "mean": 12.0, "smallest": 9.0, "largest": 17.0},
        {"timestep": 3, "block": 1, "classes": 3, "mean": 30.0, "smallest": 29.0, "largest": 31.0},
    ]


def test_a_job_most_of_whose_guided_steps_had_no_gradient_is_warned_of_it_with_what_to_do():
    warning = guidance_vanished(
        spec(kernel_bandwidth=0.5), [output([4, 4, 4, 2], {"a": 7, "b": 7}, (9, 2, 10.0), (3, 2, 30.0))]
    )
    assert warning is not None
    assert warning.code is WarningCode.GUIDANCE_VANISHED
    assert warning.message == (
        "14 of 16 guided steps had no gradient, counted for each image, so these images are hardly guided. The median distance "
        "between real images is about 10 to 30, by timestep, and kernel_bandwidth is 0.5: use kernel_bandwidth "
        '"median" or a multiple of it such as "0.5x".'
    )


def test_half_of_the_steps_are_not_most():
    assert guidance_vanished(spec(), [output([2, 2, 0, 0], {"a": 4}, (9, 1, 5.0))]) is None
    assert guidance_vanished(spec(), [output([2, 2, 1, 0], {"a": 5}, (9, 1, 5.0))]) is not None


def test_a_class_without_gradients_among_others_that_have_them_is_named():
    warning = guidance_vanished(spec(), TWO_TASKS)
    assert warning is not None
    assert warning.message.startswith("12 of 16 guided steps in 2 of 3 classes (a, b) had no gradient")


def test_only_a_few_classes_are_named():
    counts = {f"c{number}": 8 for number in range(9)} | {"good": 0}
    warning = guidance_vanished(spec(), [output([18] * 4, counts, (9, 1, 5.0))])
    assert warning is not None
    assert "in 9 of 10 classes (c0, c1, c2, c3, c4, ...)" in warning.message


@pytest.mark.parametrize(
    "fields", [{"guidance": {"objective": "energy"}}, {"guidance": {"objective": "mode"}}, {"kernel": "linear"}], ids=str
)
def test_no_bandwidth_is_advised_where_there_is_none(fields):
    warning = guidance_vanished(spec(**fields), [output([2] * 4, {"a": 8}, (9, 1, 5.0))])
    assert warning is not None
    assert "bandwidth" not in warning.message


@pytest.mark.parametrize(("bandwidth", "shown"), [("0.001x", '"0.001x"'), ([1, "0.5x"], '[1, "0.5x"]'), (2e-5, "2e-05")])
def test_the_warning_repeats_the_bandwidth_as_it_was_given(bandwidth, shown):
    warning = guidance_vanished(spec(kernel_bandwidth=bandwidth), [output([2] * 4, {"a": 8}, (9, 1, 5.0))])
    assert warning is not None
    assert f"is about 5, by timestep, and kernel_bandwidth is {shown}: use" in warning.message
