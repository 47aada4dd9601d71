from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from app.domain.fit import EVALUATED_PIXELS, class_problems, missing_classes, model_problems, nearest
from app.domain.spec import DistillationSpec
from worker.evaluation.protocols import SMALL


@dataclass(frozen=True)
class Model:
    name: str = "m"
    taps: tuple[str, ...] = tuple(f"transformer_blocks.{block}" for block in range(6))
    image_size: int = 8
    labels: Mapping[str, int] = field(default_factory=lambda: {"tabby cat": 281, "dog": 1})
    label_count: int = 1000
    wordnet: bool = False
    prompted: bool = False
    flow: bool = False
    learned_variance: bool = False


def spec(**fields: object) -> DistillationSpec:
    return DistillationSpec.model_validate({"dataset_uri": "sklearn://digits", "ipc": 1} | fields)


def test_a_spec_that_fits_has_no_problems() -> None:
    asked = spec(guidance={"tap": 6}, evaluation={})
    assert not [*model_problems(asked, Model()), *class_problems(asked, ["dog"], Model()), *missing_classes(asked, ["dog"])]


def test_a_block_that_is_not_there_is_named() -> None:
    (problem,) = model_problems(spec(guidance={"tap": 7}), Model())
    assert (problem.field, problem.message) == ("guidance.tap", "m: there are 6 blocks and no block 7")


@pytest.mark.parametrize("size", [4, 65, 256])
def test_images_that_cannot_be_evaluated_are_told_before_any_work(size: int) -> None:
    (problem,) = model_problems(spec(evaluation={}), Model(image_size=size))
    assert problem.field == "evaluation.protocol"
    assert not list(model_problems(spec(), Model(image_size=size)))


def test_the_least_evaluated_image_leaves_one_pixel_after_the_last_block() -> None:
    assert EVALUATED_PIXELS[0] == 2**SMALL.depth


def test_a_class_that_the_backbone_does_not_know_is_named_with_the_nearest() -> None:
    (problem,) = class_problems(spec(), ["dog", "tabby"], Model())
    assert problem.field == "classes"
    assert "'tabby'" in problem.message
    assert "nearest: tabby cat" in problem.message


def test_a_chosen_class_that_the_dataset_lacks_is_named() -> None:
    (problem,) = missing_classes(spec(classes=["dog", "cow"]), ["dog", "cat"])
    assert "'cow'" in problem.message


def test_where_nothing_is_alike_the_first_names_are_told() -> None:
    assert nearest("zebra", ["2", "1"]) == "it has 1, 2"
