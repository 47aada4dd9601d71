from typing import Any

import pytest
from pydantic import ValidationError

from app.api.field_errors import fault_texts, field_errors, field_name
from app.domain.errors import FieldProblem
from app.domain.spec.job_spec import DistillationSpec


def told(**changes: Any) -> dict[str, str]:
    try:
        DistillationSpec.model_validate({"dataset_uri": "sklearn://digits", "ipc": 1} | changes)
    except ValidationError as caught:
        found = [{**error, "loc": ("body", *error["loc"])} for error in caught.errors()]
        return {error.field: error.message for error in field_errors(found)[0]}
    return {}


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"ipc": 0}, "ipc", "must be at least 1"),
        ({"ipc": 101}, "ipc", "must be at most 100"),
        ({"ipc": 1.5}, "ipc", "must be a whole number"),
        ({"ipc": "many"}, "ipc", "must be a whole number"),
        (
            {"kernel": "cubic"},
            "kernel",
            "must be 'linear', 'rbf', 'laplacian', 'inverse-multiquadric' or 'polynomial'",
        ),
        (
            {"kernel_bandwidth": -1},
            "kernel_bandwidth",
            'must be a number above 0, "median", a multiple of it such as "0.5x", or for kernel rbf a list of these',
        ),
        ({"kernel_bandwidth": []}, "kernel_bandwidth", "a list must have 1 to 16 bandwidths"),
        (
            {"kernel_bandwidth": [1, True]},
            "kernel_bandwidth",
            'every bandwidth of a list must be a number above 0 or a multiple of the median such as "0.5x"',
        ),
        (
            {"kernel": "laplacian", "kernel_bandwidth": [1, 2]},
            "kernel_bandwidth",
            "the laplacian kernel has one bandwidth; a list of them is for kernel rbf",
        ),
        (
            {"kernel": "polynomial", "kernel_bandwidth": 2},
            "kernel_bandwidth",
            "the polynomial kernel has no bandwidth; leave the bandwidth out, or choose kernel rbf",
        ),
        (
            {"guidance": {"objective": "mmd", "distance": "squared"}},
            "guidance.distance",
            "objective mmd has no induced distance to square; choose induced-distance",
        ),
        ({"guidance": {"tap": []}}, "guidance.tap", "a list must have 1 to 8 blocks"),
        (
            {"guidance": {"tap": 1.0}},
            "guidance.tap",
            "a fraction of the depth is above 0 and below 1; a block's number is whole: 1, not 1.0, for the first",
        ),
        (
            {"guidance": {"tap": True}},
            "guidance.tap",
            "must be a number from 1, a name, or a fraction of the depth above 0 and below 1, or a list of 1 to 8 of these",
        ),
        ({"class_map": {"cat": -1}}, "class_map.cat", "must be a label's number, 0 or more, or a text of 1 to 1000 characters"),
        ({"class_map": {"cat": ""}}, "class_map.cat", "must be a label's number, 0 or more, or a text of 1 to 1000 characters"),
        ({"class_map": ["cat"]}, "class_map", "must be an object"),
        ({"class_map": {"": 1}}, "class_map.", "must have at least 1 characters"),
        ({"classes": []}, "classes", "must have 1 or more entries"),
        ({"classes": 3}, "classes", "must be a list"),
        ({"guidance": 3}, "guidance", "must be an object"),
        ({"guidance": {"start": 0.9, "stop": 0.1}}, "guidance", "start must be below stop"),
        ({"guidance": {"scal": 1}}, "guidance.scal", "unknown field; nearest: scale"),
        ({"kernel_bandwith": 1}, "kernel_bandwith", "unknown field; nearest: kernel_bandwidth"),
        ({"evaluation": {"zzz": 1}}, "evaluation.zzz", "unknown field; known: arms, protocol, training_seeds"),
        ({"evaluation": {"protocol": "big"}}, "evaluation.protocol", "must be 'small'"),
        ({"holdout_fraction": 0}, "holdout_fraction", "must be above 0"),
        ({"dataset_uri": 3}, "dataset_uri", "must be text"),
        ({"guidance": {"scale": True}}, "guidance.scale", "must be a number"),
        ({"sampling": {"cfg_scale": "3"}}, "sampling.cfg_scale", "must be a number"),
        ({"guidance": {"scale": float("nan")}}, "guidance.scale", "must be a finite number"),
    ],
)
def test_a_fault_is_told_in_plain_words_with_its_field(changes: dict[str, Any], field: str, message: str) -> None:
    assert told(**changes) == {field: message}


def test_a_faulty_entry_is_not_also_told_as_a_list_too_short() -> None:
    assert list(told(evaluation={"arms": ["best"]})) == ["evaluation.arms.0"]


def test_every_fault_is_told() -> None:
    assert list(told(ipc=0, kernel="cubic", seed=-1)) == ["ipc", "kernel", "seed"]


def test_the_first_faults_are_told_and_the_others_counted() -> None:
    found = [{"type": "int_type", "loc": ("body", f"x{number}")} for number in range(70)]
    faults, left_out = field_errors(found)
    assert [fault.field for fault in faults] == [f"x{number}" for number in range(20)]
    assert left_out == 50


def test_problems_of_our_own_are_counted_in_the_same_way() -> None:
    faults, left_out = fault_texts([FieldProblem(f"x{number}", "m" * 3000) for number in range(21)])
    assert (len(faults), left_out, len(faults[0].message)) == (20, 1, 2000)


def test_a_long_name_is_shortened() -> None:
    [fault], _ = field_errors([{"type": "extra_forbidden", "loc": ("body", "x" * 900_000)}])
    assert fault.field == "x" * 199 + "…"
    assert len(fault.message) < 500


def test_a_name_that_is_no_unicode_text_can_be_encoded() -> None:
    assert field_name(("body", "\ud800")) == "?"
