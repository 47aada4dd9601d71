import pytest
from pydantic import ValidationError

from app.domain.spec.bandwidth import Kernel
from app.domain.spec.evaluation import Arm, Evaluation
from app.domain.spec.guidance import Objective
from app.domain.spec.job_spec import DistillationSpec

SMALLEST = {"dataset_uri": "sklearn://digits", "ipc": 10}


def spec(**changes: object) -> DistillationSpec:
    return DistillationSpec.model_validate(SMALLEST | changes)


def faults(**changes: object) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        spec(**changes)
    return [".".join(map(str, error["loc"])) for error in caught.value.errors()]


def test_the_smallest_body_is_enough() -> None:
    assert (spec().kernel, spec().kernel_bandwidth, spec().evaluation) == (Kernel.RBF, "median", None)


@pytest.mark.parametrize("bandwidth", [0, -1, float("nan"), float("inf"), 10**400, "wide", True, {"h": 1}])
def test_a_bandwidth_is_a_number_above_0_or_median(bandwidth: object) -> None:
    assert faults(kernel_bandwidth=bandwidth) == ["kernel_bandwidth"]


NO_MULTIPLES = [
    "x",
    "0x",
    "-1x",
    "+1x",
    "1e400x",
    "1e-400x",
    "nanx",
    "infx",
    "nan",
    "0.5",
    "1_0x",
    " 1x",
    "1x\n",
    "1xx",
    "0.5X",
]


@pytest.mark.parametrize("bandwidth", [*NO_MULTIPLES, "\N{ARABIC-INDIC DIGIT THREE}x"])
def test_a_multiple_of_the_median_is_a_number_above_0_and_an_x(bandwidth: str) -> None:
    assert faults(kernel_bandwidth=bandwidth) == faults(kernel_bandwidth=["1x", bandwidth]) == ["kernel_bandwidth"]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("0.5x", "0.5x"),
        ("0.50x", "0.5x"),
        (".5x", "0.5x"),
        ("2.x", "2x"),
        ("1e2x", "100x"),
        (["1x", 4, "2.0x"], ("1x", 4.0, "2x")),
    ],
)
def test_a_multiple_of_the_median_is_stored_in_one_form(given: object, stored: object) -> None:
    assert spec(kernel_bandwidth=given).kernel_bandwidth == stored
    assert spec(kernel_bandwidth=given).digest == spec(kernel_bandwidth=stored).digest


@pytest.mark.parametrize("bandwidth", [[], [0], [1, -1], [1, float("inf")], [1, 10**400], [True], ["median"], [[1]], [1] * 17])
def test_a_list_of_bandwidths_holds_a_few_numbers_above_0(bandwidth: object) -> None:
    assert faults(kernel_bandwidth=bandwidth) == ["kernel_bandwidth"]


def test_a_list_of_bandwidths_is_for_rbf_only() -> None:
    assert spec(kernel_bandwidth=[1, 2.5]).kernel_bandwidth == (1.0, 2.5)
    for kernel in set(Kernel) - {Kernel.RBF}:
        assert faults(kernel=kernel, kernel_bandwidth=[1.0, 2.5]) == ["kernel_bandwidth"]


@pytest.mark.parametrize("kernel", [Kernel.LINEAR, Kernel.POLYNOMIAL])
def test_some_kernels_have_no_bandwidth(kernel: Kernel) -> None:
    assert spec(kernel=kernel).kernel_bandwidth is None
    assert (
        faults(kernel=kernel, kernel_bandwidth=1.0) == faults(kernel=kernel, kernel_bandwidth="median") == ["kernel_bandwidth"]
    )


@pytest.mark.parametrize("kernel", [Kernel.RBF, Kernel.LAPLACIAN, Kernel.INVERSE_MULTIQUADRIC])
def test_a_kernel_with_a_bandwidth_takes_the_median_unless_told(kernel: Kernel) -> None:
    assert spec(kernel=kernel).kernel_bandwidth == "median"
    assert spec(kernel=kernel, kernel_bandwidth=3).kernel_bandwidth == 3.0


def test_only_the_induced_distance_is_squared() -> None:
    assert spec(guidance={"objective": "induced-distance", "distance": "squared"}).guidance.distance == "squared"
    for objective in set(Objective) - {Objective.INDUCED_DISTANCE}:
        assert faults(guidance={"objective": objective, "distance": "squared"}) == ["guidance.distance"]


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
        ({"guidance": {"tap": 1.0}}, "guidance.tap"),
        ({"class_map": {"cat": True}}, "class_map.cat"),
        ({"sampling": {"prompt": ""}}, "sampling.prompt"),
        ({"classes": []}, "classes"),
        ({"classes": ["a", "a"]}, "classes"),
        ({"evaluation": {"arms": ["guided", "guided"]}}, "evaluation.arms"),
        ({"holdout_fraction": 0}, "holdout_fraction"),
        ({"seed": -1}, "seed"),
        ({"deadline_seconds": 0}, "deadline_seconds"),
        ({"deadline_seconds": True}, "deadline_seconds"),
        ({"time_limit_seconds": True}, "time_limit_seconds"),
        ({"time_limit_seconds": "60"}, "time_limit_seconds"),
    ],
)
def test_a_fault_names_its_field(changes: dict[str, object], field: str) -> None:
    assert faults(**changes) == [field]


def test_arms_are_in_one_order_however_they_were_named() -> None:
    assert Evaluation.model_validate({"arms": ["full", "guided"]}).arms == (Arm.GUIDED, Arm.FULL)


@pytest.mark.parametrize("bandwidth", [0.1, "median", "0.5x", [0.1, 7], ["0.5x", 7]])
def test_a_spec_survives_storage(bandwidth: object) -> None:
    full = spec(evaluation={}, classes=["0", "1"], seed=2**63 - 1, kernel_bandwidth=bandwidth)
    assert DistillationSpec.model_validate(full.model_dump(mode="json")) == full


@pytest.mark.parametrize("tap", [None, 3, 0.3, "mid_block", [4, 0.5, "mid_block"]])
def test_a_tap_and_a_class_map_survive_storage_as_they_were_given(tap: object) -> None:
    full = spec(guidance={"tap": tap}, class_map={"b": "cat", "a": 0})
    stored = full.model_dump(mode="json")
    assert (stored["guidance"]["tap"], stored["class_map"]) == (tap, {"a": 0, "b": "cat"})
    restored = DistillationSpec.model_validate_json(full.model_dump_json())
    assert (restored, restored.digest) == (full, spec(guidance={"tap": tap}, class_map={"a": 0, "b": "cat"}).digest)


def test_the_digest_is_of_the_meaning_not_of_the_spelling() -> None:
    assert spec().digest == spec(kernel_bandwidth="median", guidance={}).digest
    assert spec().digest != spec(seed=1).digest


@pytest.mark.parametrize("ipc", [True, "1", 1.5])
def test_a_whole_number_is_a_number_and_whole(ipc: object) -> None:
    with pytest.raises(ValidationError, match="ipc"):
        DistillationSpec.model_validate({"dataset_uri": "sklearn://digits", "ipc": ipc})


def test_a_dataset_uri_is_not_too_long_however_it_is_spelled() -> None:
    """`é` is two bytes, which are six characters in the canonical spelling; `file:///` has eight."""
    longest = "é" * 681 + "ab"
    assert len(spec(dataset_uri=f"file:///{longest}").dataset_uri) == 4096
    with pytest.raises(ValidationError, match="has 4097 characters once its bytes are written as %XX; at most 4096"):
        spec(dataset_uri=f"file:///{longest}c")
