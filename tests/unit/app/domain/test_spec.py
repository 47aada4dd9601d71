import pytest
from pydantic import ValidationError

from app.domain.spec import Arm, DistillationSpec, Evaluation, Kernel

SMALLEST = {"dataset_uri": "sklearn://digits", "ipc": 10}


def spec(**changes: object) -> DistillationSpec:
    return DistillationSpec.model_validate(SMALLEST | changes)


def faults(**changes: object) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        spec(**changes)
    return [".".join(map(str, error["loc"])) for error in caught.value.errors()]


def test_the_smallest_body_is_enough() -> None:
    assert (spec().kernel, spec().kernel_bandwidth, spec().evaluation) == (Kernel.RBF, "median", None)


@pytest.mark.parametrize("bandwidth", [0, -1, float("nan"), float("inf"), 10**400, "wide", True, [1]])
def test_a_bandwidth_is_a_number_above_0_or_median(bandwidth: object) -> None:
    assert faults(kernel_bandwidth=bandwidth) == ["kernel_bandwidth"]


def test_the_linear_kernel_has_no_bandwidth() -> None:
    assert spec(kernel="linear").kernel_bandwidth is None
    assert faults(kernel="linear", kernel_bandwidth=1.0) == ["kernel_bandwidth"]


def test_an_unknown_kernel_is_the_only_fault() -> None:
    assert faults(kernel="cubic", kernel_bandwidth=1.0) == ["kernel"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"ipc": 0}, "ipc"),
        ({"ipc": 101}, "ipc"),
        ({"temperature": 1}, "temperature"),
        ({"guidance": {"scal": 1}}, "guidance.scal"),
        ({"guidance": {"start": 0.5, "stop": 0.5}}, "guidance"),
        ({"classes": []}, "classes"),
        ({"classes": ["a", "a"]}, "classes"),
        ({"evaluation": {"arms": ["guided", "guided"]}}, "evaluation.arms"),
        ({"holdout_fraction": 0}, "holdout_fraction"),
        ({"seed": -1}, "seed"),
        ({"deadline_seconds": 0}, "deadline_seconds"),
    ],
)
def test_a_fault_names_its_field(changes: dict[str, object], field: str) -> None:
    assert faults(**changes) == [field]


def test_arms_are_in_one_order_however_they_were_named() -> None:
    assert Evaluation.model_validate({"arms": ["full", "guided"]}).arms == (Arm.GUIDED, Arm.FULL)


def test_a_spec_survives_storage() -> None:
    full = spec(evaluation={}, classes=["0", "1"], seed=2**63 - 1, kernel_bandwidth=0.1)
    assert DistillationSpec.model_validate(full.model_dump(mode="json")) == full


def test_the_digest_is_of_the_meaning_not_of_the_spelling() -> None:
    assert spec().digest == spec(kernel_bandwidth="median", guidance={}).digest
    assert spec().digest != spec(seed=1).digest
