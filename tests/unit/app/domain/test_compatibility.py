import pytest

from app.domain.backbone import BackboneInfo
from app.domain.compatibility import EVALUATED_PIXELS, class_problems, missing_classes, model_problems
from app.domain.spec.sampling import Scheduler
from tests.unit.app.domain.models import labelled, prompted, spec
from worker.evaluation.protocols import SMALL

FLOW = prompted(flow=True)
LEARNED = labelled(learned_variance=True)


def fields(model: BackboneInfo, **asked: object) -> list[str]:
    return [problem.field for problem in model_problems(spec(**asked), model)]


def test_a_spec_that_fits_has_no_problems() -> None:
    asked = spec(guidance={"tap": 6}, evaluation={}, class_map={"hound": "dog"})
    dataset, model = ["hound", "tench"], labelled()
    assert not [*model_problems(asked, model), *class_problems(asked, dataset, model), *missing_classes(asked, dataset)]


def test_a_block_that_is_not_there_is_named() -> None:
    (problem,) = model_problems(spec(guidance={"tap": 7}), labelled())
    assert (problem.field, problem.message) == ("guidance.tap", "m: there are 6 blocks and no block 7")
    assert fields(labelled(), guidance={"tap": [1, "mid_block"]}) == ["guidance.tap"]
    assert fields(prompted(), guidance={"tap": [1, "mid_block", 0.5]}) == []


@pytest.mark.parametrize("size", [4, 65, 256])
def test_images_that_cannot_be_evaluated_are_told_before_any_work(size: int) -> None:
    assert fields(labelled(image_size=size), evaluation={}) == ["evaluation.protocol"]
    assert fields(labelled(image_size=size)) == []


def test_the_least_evaluated_image_leaves_one_pixel_after_the_last_block() -> None:
    assert EVALUATED_PIXELS[0] == 2**SMALL.depth


@pytest.mark.parametrize("scheduler", Scheduler)
def test_flow_is_sampled_by_flow_euler_and_nothing_else_is(scheduler: Scheduler) -> None:
    is_flow = scheduler is Scheduler.FLOW_EULER
    assert fields(FLOW, sampling={"scheduler": scheduler}) == ([] if is_flow else ["sampling.scheduler"])
    assert fields(labelled(), sampling={"scheduler": scheduler}) == (["sampling.scheduler"] if is_flow else [])
    assert fields(FLOW) == fields(labelled()) == []


def test_a_scheduler_that_does_not_fit_is_told_with_those_that_do() -> None:
    (problem,) = model_problems(spec(sampling={"scheduler": "flow-euler"}), labelled())
    assert problem.message == "m did not learn flow matching; choose ddpm or ddim or dpm-solver++"


def test_a_learned_variance_is_ddpms_and_must_have_been_learned() -> None:
    assert fields(LEARNED, sampling={"variance": "learned"}) == []
    assert fields(LEARNED, sampling={"variance": "learned", "scheduler": "ddim"}) == ["sampling.variance"]
    assert fields(labelled(), sampling={"variance": "learned"}) == ["sampling.variance"]
    assert fields(FLOW, sampling={"variance": "learned"}) == ["sampling.variance"]
    assert fields(labelled(), sampling={"variance": "fixed"}) == fields(LEARNED, sampling={"variance": "fixed"}) == []


def test_words_are_for_models_that_take_them() -> None:
    words = {"prompt": "a {class}", "negative_prompt": "blur", "cfg_scale": 2}
    assert fields(prompted(), sampling=words) == []
    assert fields(labelled(), sampling=words) == ["sampling.prompt", "sampling.negative_prompt"]


def test_a_negative_prompt_that_would_do_nothing_is_refused() -> None:
    assert fields(prompted(), sampling={"negative_prompt": "blur"}) == ["sampling.negative_prompt"]
    assert fields(prompted(), sampling={"negative_prompt": ""}) == []


def test_a_prompt_without_the_class_is_for_one_class_only() -> None:
    asked = {"sampling": {"prompt": "a dog"}}
    (problem,) = class_problems(spec(**asked), ["a", "b"], prompted())
    assert problem.field == "sampling.prompt"
    assert not list(class_problems(spec(**asked), ["a"], prompted()))
    assert not list(class_problems(spec(**asked, classes=["a"]), ["a", "b"], prompted()))


def test_every_class_that_the_backbone_does_not_know_is_named() -> None:
    asked = spec(class_map={"hound": "dgo"})
    found = [problem.field for problem in class_problems(asked, ["dog", "tabby", "hound"], labelled())]
    assert found == ["classes", "class_map.hound"]


def test_only_chosen_classes_must_be_known() -> None:
    assert not list(class_problems(spec(classes=["dog"]), ["dog", "cow"], labelled()))


def test_a_chosen_class_that_the_dataset_lacks_is_named() -> None:
    (problem,) = missing_classes(spec(classes=["dog", "cow"]), ["dog", "cat"])
    assert (problem.field, problem.message) == ("classes", "the dataset has no class 'cow'; known: cat, dog")


def test_a_mapped_class_that_the_dataset_lacks_is_named_once() -> None:
    (problem,) = missing_classes(spec(class_map={"dgo": 1, "cat": 2}), ["dog", "cat"])
    assert (problem.field, problem.message) == ("class_map.dgo", "the dataset has no class 'dgo'; nearest: dog")
    (problem,) = missing_classes(spec(class_map={"cow": 1}, classes=["cow"]), ["dog", "cat"])
    assert problem.field == "classes"


def test_a_name_that_was_cut_at_its_comma_is_told_whole() -> None:
    (first, _) = missing_classes(spec(classes=["Pepper", "_bell"]), ["rose", "Pepper,_bell"])
    told = "it has 'Pepper,_bell', whose comma is written \\, in `dapple distil --classes`"
    assert (first.field, first.message) == ("classes", f"the dataset has no class 'Pepper'; {told}")


def test_two_classes_that_would_be_drawn_alike_are_refused_unless_the_class_map_says_so() -> None:
    dataset = ["tabby cat", "tabby_cat"]
    (problem,) = class_problems(spec(), dataset, labelled())
    told = "'tabby cat' and 'tabby_cat' would both be drawn as 281; say in class_map what each is"
    assert (problem.field, problem.message) == ("classes", told)
    (problem,) = class_problems(spec(), dataset, prompted())
    assert "both be drawn as 'a photo of a tabby cat'" in problem.message
    assert not list(class_problems(spec(class_map={"tabby_cat": "tabby cat"}), dataset, labelled()))


@pytest.mark.parametrize(
    ("guidance", "steps", "refused"),
    [
        ({"start": 0.8}, 4, True),
        ({"start": 0.8, "objective": "mode"}, 4, True),
        ({"start": 0.8}, 5, False),
        ({"start": 0.75}, 4, False),
        ({"start": 0.3, "stop": 0.5}, 4, True),  # step 2 is the first after it
        ({"start": 1e-9}, 1, True),
        ({"stop": 1e-9}, 1, False),
        ({"start": 0.8, "objective": "none"}, 4, False),
        ({"start": 0.8, "scale": 0.0}, 4, False),
    ],
)
def test_a_window_without_a_step_is_refused_where_guidance_is_asked_for(
    guidance: dict[str, object], steps: int, refused: bool
) -> None:
    assert fields(labelled(), guidance=guidance, sampling={"steps": steps}) == ["guidance.start"] * refused


def test_a_window_without_a_step_is_told_with_where_the_steps_lie() -> None:
    (problem,) = model_problems(spec(guidance={"start": 0.8}, sampling={"steps": 4}), labelled())
    assert problem.message == (
        "no step of 4 lies in the window from 0.8 to 1: step k, from 0 to 3, lies at k / 4; choose another window or more steps"
    )
