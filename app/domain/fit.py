"""Whether a spec, a dataset's classes and a backbone fit together: asked at submission, and again when the work begins."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Protocol

from app.domain.errors import FieldProblem
from app.domain.spec import DistillationSpec
from app.domain.taps import positions

EVALUATED_PIXELS = (8, 64)  # the least and the largest image side that the protocol `small` takes
MOST_NAMED = 10


class Model(Protocol):
    """What is asked of a backbone, loaded or not.

    `taps` are the names of its blocks in order of depth, `image_size` is a side in pixels, `labels` the label of each class it
    knows by name, `label_count` how many labels there are, with or without a name. `wordnet`: the labels are ImageNet-1K's.
    `prompted`: it takes words and has no labels. `flow`: it learned flow matching. `learned_variance`: it predicts the variance
    of DDPM's steps.
    """

    @property
    def name(self) -> str: ...
    @property
    def taps(self) -> tuple[str, ...]: ...
    @property
    def image_size(self) -> int: ...
    @property
    def labels(self) -> Mapping[str, int]: ...
    @property
    def label_count(self) -> int: ...
    @property
    def wordnet(self) -> bool: ...
    @property
    def prompted(self) -> bool: ...
    @property
    def flow(self) -> bool: ...
    @property
    def learned_variance(self) -> bool: ...


def model_problems(spec: DistillationSpec, model: Model) -> Iterator[FieldProblem]:
    """What the spec asks of the backbone that it does not have."""
    yield from _tap_problems(spec, model)
    least, largest = EVALUATED_PIXELS
    if spec.evaluation is not None and not least <= model.image_size <= largest:
        told = f"{spec.evaluation.protocol} takes images of {least} to {largest} pixels; those of {model.name} have"
        yield FieldProblem("evaluation.protocol", f"{told} {model.image_size}")


def _tap_problems(spec: DistillationSpec, model: Model) -> Iterator[FieldProblem]:
    try:
        positions(spec.guidance.tap, model.taps)
    except ValueError as error:
        yield FieldProblem("guidance.tap", f"{model.name}: {error}")


def class_problems(spec: DistillationSpec, dataset: Sequence[str], model: Model) -> Iterator[FieldProblem]:
    """Classes of the dataset, or those the spec chose of it, that the backbone does not know by name."""
    whose = "class" if spec.classes else "the dataset's class"
    for name in spec.classes or dataset:
        if name not in model.labels:
            yield FieldProblem("classes", f"{whose} {name!r} is unknown to {model.name}; {nearest(name, model.labels)}")


def missing_classes(spec: DistillationSpec, dataset: Sequence[str]) -> Iterator[FieldProblem]:
    """Classes the spec chose that the dataset does not have."""
    for name in spec.classes or ():
        if name not in dataset:
            yield FieldProblem("classes", f"the dataset has no class {name!r}; {nearest(name, dataset)}")


def nearest(name: str, known: Collection[str]) -> str:
    """The known names most like this one, or the first few of them, in words."""
    alike = get_close_matches(name, known, n=3)
    return f"nearest: {', '.join(alike)}" if alike else f"it has {', '.join(sorted(known)[:MOST_NAMED])}"
