"""What is wrong with a spec beyond its schema, found before anything is stored."""

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from itertools import islice

from app.domain.errors import FieldProblem, InvalidSpec
from app.domain.spec import DistillationSpec
from app.services.dataset_classes import class_names
from app.settings import Settings
from app.storage import backbones
from app.storage.backbones import BackboneFolder

MOST_NAMED = 10


def check(spec: DistillationSpec, settings: Settings) -> None:
    """Raises InvalidSpec with every problem that can be known now, BackboneUnavailable if the backbone's folder is broken."""
    problems: list[FieldProblem] = []
    dataset: tuple[str, ...] | None = None
    backbone: BackboneFolder | None = None
    try:
        dataset = class_names(spec.dataset_uri, settings.dataset_roots)
    except InvalidSpec as error:
        problems += error.problems
    try:
        backbone = backbones.find(settings.backbone_roots, spec.backbone)
    except InvalidSpec as error:
        problems += error.problems
    problems += _tap_problems(spec, backbone)
    problems += _window_problems(spec)
    problems += islice(_class_problems(spec, dataset, backbone), MOST_NAMED)
    if problems:
        raise InvalidSpec(problems)


def _tap_problems(spec: DistillationSpec, backbone: BackboneFolder | None) -> list[FieldProblem]:
    tap = spec.guidance.tap
    if backbone is None or tap is None or tap <= backbone.blocks:
        return []
    return [FieldProblem("guidance.tap", f"{backbone.name} has {backbone.blocks} blocks; there is no block {tap}")]


def _window_problems(spec: DistillationSpec) -> list[FieldProblem]:
    steps, guidance = spec.sampling.steps, spec.guidance
    if any(guidance.start <= step / steps < guidance.stop for step in range(steps)):
        return []
    return [FieldProblem("guidance.start", f"none of the {steps} steps lies between start and stop: nothing would be guided")]


def _class_problems(
    spec: DistillationSpec, dataset: tuple[str, ...] | None, backbone: BackboneFolder | None
) -> Iterator[FieldProblem]:
    for name in spec.classes or ():
        if dataset is not None and name not in dataset:
            yield FieldProblem("classes", f"the dataset has no class {name!r}; {_nearest(name, dataset)}")
    if backbone is None:
        return
    for name in spec.classes or dataset or ():
        if name not in backbone.labels:
            whose = "class" if spec.classes else "the dataset's class"
            yield FieldProblem("classes", f"{whose} {name!r} is unknown to {backbone.name}; {_nearest(name, backbone.labels)}")


def _nearest(name: str, known: Collection[str]) -> str:
    nearest = get_close_matches(name, known, n=3)
    return f"nearest: {', '.join(nearest)}" if nearest else f"it has {', '.join(sorted(known)[:MOST_NAMED])}"
