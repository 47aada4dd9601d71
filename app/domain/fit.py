"""Whether a spec, a dataset's classes and a backbone fit together: asked at submission, and again when the work begins."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Protocol

from app.domain.errors import FieldProblem
from app.domain.spec import DistillationSpec

EVALUATED_PIXELS = (8, 64)  # the least and the largest image side that the protocol `small` takes
MOST_NAMED = 10


class Model(Protocol):
    """What is asked of a backbone, loaded or not: its name, transformer blocks, image side in pixels, label of each class."""

    @property
    def name(self) -> str: ...
    @property
    def blocks(self) -> int: ...
    @property
    def image_size(self) -> int: ...
    @property
    def labels(self) -> Mapping[str, int]: ...


def model_problems(spec: DistillationSpec, model: Model) -> Iterator[FieldProblem]:
    """What the spec asks of the backbone that it does not have."""
    tap = spec.guidance.tap
    if tap is not None and tap > model.blocks:
        yield FieldProblem("guidance.tap", f"{model.name} has {model.blocks} blocks; there is no block {tap}")
    least, largest = EVALUATED_PIXELS
    if spec.evaluation is not None and not least <= model.image_size <= largest:
        told = f"{spec.evaluation.protocol} takes images of {least} to {largest} pixels; those of {model.name} have"
        yield FieldProblem("evaluation.protocol", f"{told} {model.image_size}")


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
