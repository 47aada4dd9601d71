"""Whether a spec, the classes of a dataset and a backbone are compatible.

The service checks this at submission; `prepare` checks it again.
"""

from collections.abc import Iterator, Sequence

from app.domain.backbone import BackboneInfo, schedulers_of
from app.domain.class_conditioning import PLACEHOLDER, Condition, condition_of
from app.domain.errors import FieldProblem, InvalidSpec
from app.domain.spec.job_spec import DistillationSpec
from app.domain.spec.sampling import Scheduler, Variance
from app.domain.spec.taps import positions
from app.domain.suggestions import MOST_NAMED, nearest

__all__ = ["EVALUATED_PIXELS", "MOST_NAMED", "class_problems", "missing_classes", "model_problems"]

EVALUATED_PIXELS = (8, 64)  # smallest and largest image side of the protocol `small`


def model_problems(spec: DistillationSpec, info: BackboneInfo) -> Iterator[FieldProblem]:
    """Requests of the spec that the backbone cannot meet."""
    yield from _tap_problems(spec, info)
    yield from _sampling_problems(spec, info)
    yield from _prompt_problems(spec, info)
    yield from _window_problems(spec)
    least, largest = EVALUATED_PIXELS
    if spec.evaluation is not None and not least <= info.image_size <= largest:
        told = f"{spec.evaluation.protocol} takes images of {least} to {largest} pixels; those of {info.name} have"
        yield FieldProblem("evaluation.protocol", f"{told} {info.image_size}")


def class_problems(spec: DistillationSpec, dataset: Sequence[str], info: BackboneInfo) -> Iterator[FieldProblem]:
    """Chosen classes, by default all of the dataset, that the backbone cannot draw."""
    classes = spec.classes or dataset
    prompt = spec.sampling.prompt
    alike = info.prompted and len(classes) > 1 and prompt is not None and PLACEHOLDER not in prompt
    if alike:
        yield FieldProblem(
            "sampling.prompt", f"{PLACEHOLDER} must be in it: the {len(classes)} classes would all be drawn alike"
        )
    first_drawn_as: dict[Condition, str] = {}
    for name in classes:
        try:
            condition = condition_of(name, spec, info)
        except InvalidSpec as error:
            yield from error.problems
            continue
        first = first_drawn_as.setdefault(condition, name)
        if first != name and not alike and not spec.class_map.keys() & {first, name}:  # a class map may want this
            message = f"{first!r} and {name!r} would both be drawn as {condition!r}; say in class_map what each is"
            yield FieldProblem("classes", message)


def missing_classes(spec: DistillationSpec, dataset: Sequence[str]) -> Iterator[FieldProblem]:
    """Classes that the spec chooses or maps, but that the dataset does not have.

    `dataset`: all classes of the dataset, not only the chosen ones.
    """
    known, chosen = frozenset(dataset), frozenset(spec.classes or ())
    asked = [("classes", name) for name in spec.classes or ()]
    asked += [(f"class_map.{name}", name) for name in spec.class_map if name not in chosen]
    for field, name in asked:
        if name not in known:
            yield FieldProblem(
                field, f"the dataset has no class {name!r}; {_with_comma(name, dataset) or nearest(name, dataset)}"
            )


def _with_comma(part: str, dataset: Sequence[str]) -> str | None:
    """A hint if `part` is a piece of a class name that a command line split at its comma."""
    whole = next((name for name in dataset if "," in name and part in name.split(",")), None)
    return whole and f"it has {whole!r}, whose comma is written \\, in `dapple distil --classes`"


def _window_problems(spec: DistillationSpec) -> Iterator[FieldProblem]:
    """A problem if guidance is wanted but its window contains no step."""
    guidance, steps = spec.guidance, spec.sampling.steps
    if guidance.is_active and not any(guidance.acts_at(step, steps) for step in range(steps)):
        yield FieldProblem(
            "guidance.start",
            f"no step of {steps} lies in the window from {guidance.start:g} to {guidance.stop:g}: step k, from 0 to "
            f"{steps - 1}, lies at k / {steps}; choose another window or more steps",
        )


def _tap_problems(spec: DistillationSpec, info: BackboneInfo) -> Iterator[FieldProblem]:
    try:
        positions(spec.guidance.tap, info.block_names)
    except ValueError as error:
        yield FieldProblem("guidance.tap", f"{info.name}: {error}")


def _sampling_problems(spec: DistillationSpec, info: BackboneInfo) -> Iterator[FieldProblem]:
    fitting = schedulers_of(info.flow)
    scheduler = spec.sampling.scheduler or fitting[0]
    if scheduler not in fitting:
        learned = "learned flow matching" if info.flow else "did not learn flow matching"
        yield FieldProblem("sampling.scheduler", f"{info.name} {learned}; choose {' or '.join(fitting)}")
    if spec.sampling.variance is not Variance.LEARNED:
        return
    if not info.learned_variance:
        yield FieldProblem("sampling.variance", f"{info.name} predicts no variance; leave it out")
    elif scheduler is not Scheduler.DDPM:
        yield FieldProblem("sampling.variance", f"only {Scheduler.DDPM} takes a learned variance, not {scheduler}")


def _prompt_problems(spec: DistillationSpec, info: BackboneInfo) -> Iterator[FieldProblem]:
    sampling = spec.sampling
    for field, text in (("prompt", sampling.prompt), ("negative_prompt", sampling.negative_prompt)):
        if text is not None and not info.prompted:
            yield FieldProblem(f"sampling.{field}", f"{info.name} takes no text, only labels of its own; leave it out")
    if sampling.negative_prompt and info.prompted and sampling.cfg_scale == 1:
        yield FieldProblem("sampling.negative_prompt", "has no effect without classifier-free guidance; set cfg_scale above 1")
