"""The images of a source, each with its class and split."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.datasets.image_folder import Item
from app.domain.errors import DatasetRejected, FieldProblem, InvalidSpec
from app.domain.suggestions import MOST_NAMED, nearest
from worker.datasets.readers.files import Files


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The images of the chosen classes, and how their source was understood.

    `files` reads an item's `path`. `classes` are all classes of the source, sorted. `tested`:
    whether the source has a test split. `left_out` and `doubts` are phrases for the user. `escaped`
    are the classes whose folders' names are not UTF-8; their names contain the bytes as escapes.
    """

    files: Files
    items: Sequence[Item]
    classes: tuple[str, ...]
    tested: bool = False
    left_out: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    escaped: tuple[str, ...] = ()


def refuse_missing(chosen: Sequence[str] | None, classes: Sequence[str]) -> None:
    """Raises InvalidSpec for each chosen class that the source lacks; None chooses all."""
    known = frozenset(classes)
    missing = [name for name in chosen or () if name not in known][:MOST_NAMED]
    if missing:
        told = (FieldProblem("classes", f"the dataset has no class {name!r}; {nearest(name, classes)}") for name in missing)
        raise InvalidSpec(tuple(told))


def refuse_without_training(items: Sequence[Item], chosen: Sequence[str]) -> None:
    """Raises DatasetRejected for a chosen class of which only the test split has images."""
    trained = {item.class_name for item in items if item.split != "test"}
    for name in chosen:
        if name not in trained:
            told = f"class {name!r} has 0 training images: only the test split has it; leave it out with `classes`"
            raise DatasetRejected(told)
