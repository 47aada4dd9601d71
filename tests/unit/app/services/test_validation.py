from pathlib import Path

import pytest

from app.domain.errors import BackboneUnavailable, InvalidSpec
from app.domain.spec.bandwidth import Kernel
from app.domain.spec.guidance import Objective
from app.domain.spec.job_spec import DistillationSpec
from app.services import validation
from app.services.resources import Resources
from tests.unit.app.stored import write_stable_diffusion


def problems(resources: Resources, **changes: object) -> list[tuple[str, str]]:
    asked = {"dataset_uri": "sklearn://digits", "ipc": 1, "backbone": "tiny"} | changes
    try:
        validation.check(DistillationSpec.model_validate(asked), resources.settings)
    except InvalidSpec as error:
        return [(problem.field, problem.message) for problem in error.problems]
    return []


def folder(resources: Resources, *classes: str) -> str:
    root: Path = resources.settings.dataset_roots[0] / "set"
    for name in classes:
        (root / name).mkdir(parents=True)
        (root / name / "1.png").touch()
    return root.as_uri()


def test_a_job_that_can_run_has_no_problems(resources: Resources) -> None:
    assert problems(resources) == []
    assert problems(resources, classes=["3", "7"], guidance={"tap": 6}) == []


@pytest.mark.parametrize("objective", Objective)
@pytest.mark.parametrize("kernel", Kernel)
def test_every_kernel_goes_with_every_objective(resources: Resources, kernel: Kernel, objective: Objective) -> None:
    assert problems(resources, kernel=kernel, guidance={"objective": objective}) == []


def test_all_problems_are_told_at_once(resources: Resources) -> None:
    found = problems(resources, dataset_uri="file:///etc", backbone="huge")
    assert [field for field, _ in found] == ["dataset_uri", "backbone"]


def test_a_tap_beyond_the_last_block_is_refused(resources: Resources) -> None:
    assert problems(resources, guidance={"tap": 7}) == [("guidance.tap", "tiny: there are 6 blocks and no block 7")]


@pytest.mark.parametrize("window", [{"start": 0.99}, {"start": 0.501, "stop": 0.519}])
def test_guidance_that_would_guide_no_step_is_refused(resources: Resources, window: dict[str, float]) -> None:
    assert [field for field, _ in problems(resources, guidance=window)] == ["guidance.start"]
    assert problems(resources, guidance=window, sampling={"steps": 1000}) == []
    assert problems(resources, guidance=window | {"objective": "none"}) == []


def test_an_unknown_class_is_refused_with_the_nearest(resources: Resources) -> None:
    fields, messages = zip(*problems(resources, dataset_uri=folder(resources, "0", "1"), classes=["01"]), strict=True)
    assert set(fields) == {"classes"}
    assert "the dataset has no class '01'; nearest: 1, 0" in messages
    assert any("unknown to tiny" in message for message in messages)


def test_a_dataset_whose_classes_the_backbone_does_not_know_is_refused(resources: Resources) -> None:
    found = problems(resources, dataset_uri=folder(resources, "0", "cat"))
    assert [field for field, _ in found] == ["classes"]
    assert "class 'cat' is unknown to tiny" in found[0][1]


def test_the_list_of_unknown_classes_stays_short(resources: Resources) -> None:
    assert len(problems(resources, dataset_uri=folder(resources, *(f"x{i}" for i in range(50))))) == validation.MOST_NAMED


def test_any_class_can_be_put_into_words(resources: Resources) -> None:
    write_stable_diffusion(resources.settings.data_dir / "backbones" / "words")
    uri = folder(resources, "n01440764", "french_horn")
    assert problems(resources, backbone="words", dataset_uri=uri, guidance={"tap": "mid_block"}) == []
    found = problems(
        resources, backbone="words", dataset_uri=uri, sampling={"prompt": "a fish"}, class_map={"french_horn": 566}
    )
    assert [field for field, _ in found] == ["sampling.prompt", "class_map.french_horn"]


def test_a_class_is_mapped_to_what_the_backbone_calls_it(resources: Resources) -> None:
    uri = folder(resources, "0", "cat")
    assert problems(resources, dataset_uri=uri, class_map={"cat": "7"}) == []
    assert problems(resources, dataset_uri=uri, class_map={"cat": 7, "0": 9}) == []
    assert [field for field, _ in problems(resources, dataset_uri=uri, class_map={"cat": 10})] == ["class_map.cat"]
    assert [field for field, _ in problems(resources, dataset_uri=uri, class_map={"cat": 1, "dog": 2})] == ["class_map.dog"]


def test_a_file_of_a_backbone_that_is_missing_may_come(resources: Resources) -> None:
    (resources.settings.data_dir / "backbones" / "tiny" / "transformer" / "config.json").unlink()
    with pytest.raises(BackboneUnavailable):
        problems(resources)


def test_a_backbone_that_cannot_be_used_is_a_problem_among_the_others(resources: Resources) -> None:
    config = resources.settings.data_dir / "backbones" / "tiny" / "transformer" / "config.json"
    config.write_text("{}")
    found = problems(resources, dataset_uri="file:///etc")
    assert [field for field, _ in found] == ["dataset_uri", "backbone"]
    assert f"{config}: sample_size: Field required" in found[1][1]
