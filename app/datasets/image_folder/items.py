"""The image files of a layout, each with its class and split."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.datasets.image_folder.layout import TEST, AnnotatedFolder, Layout
from app.datasets.image_folder.masks import masks_beside
from app.datasets.image_folder.names import readable
from app.datasets.image_folder.tree import LeftOut, pieces_of
from app.domain.errors import DatasetRejected


@dataclass(frozen=True, slots=True)
class Item:
    """One image file.

    `path` opens the file. `name` is the path as text, without the wrapper folders. `split` is None
    if the dataset has no splits.
    """

    path: str
    name: str
    class_name: str
    split: str | None


@dataclass(frozen=True)
class Items:
    """Files of the chosen classes, sorted by name.

    `left_out` and `doubts` are phrases for the user, about files of unknown class and about masks.
    """

    items: Sequence[Item]
    left_out: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def items_of(layout: Layout, chosen: Collection[str], read: Callable[[str], bytes]) -> Items:
    """The images of the chosen classes. `read(path)` returns the list of labels of a split.

    Raises DatasetRejected if two files have the same name.
    """
    wanted = frozenset(chosen)
    found = [
        Item(path, _name(path, layout.wrappers), one.class_name, one.split)
        for one in layout.class_folders
        if one.class_name in wanted
        for path in one.folder.everything()
    ]
    left_out = LeftOut()
    if layout.annotated is not None:
        found += _annotated(layout, layout.annotated, read, left_out, wanted)
    found.sort(key=lambda item: item.name)
    _refuse_repeated(found)
    masks = masks_beside([item.name for item in found])
    return Items(found, left_out.phrases(), () if masks is None else (masks,))


def labels_in(text: str) -> Mapping[str, str]:
    """Class by file name. Each line of the list has a file, a class and optionally a box."""
    lines = (line.split() for line in text.splitlines())
    return {words[0]: words[1] for words in lines if len(words) > 1}


def _annotated(
    layout: Layout, split: AnnotatedFolder, read: Callable[[str], bytes], left_out: LeftOut, wanted: Collection[str]
) -> Iterator[Item]:
    labels = labels_in(read(split.annotations).decode("utf-8", "backslashreplace"))
    known = frozenset(layout.classes)
    for path in split.folder.everything():
        class_name = labels.get(path.rpartition("/")[2])
        if class_name not in known:
            left_out.add(f"images without a class of the training split in {readable(split.annotations)}", path)
        elif class_name in wanted:
            yield Item(path, _name(path, layout.wrappers), class_name, TEST)


def _name(path: str, wrappers: int) -> str:
    """The name of a file; usually the same string as its path, to save memory."""
    return readable("/".join(pieces_of(path)[wrappers:]) if wrappers or "\\" in path else path)


def _refuse_repeated(items: Sequence[Item]) -> None:
    for one, other in pairwise(items):
        if one.name == other.name:
            raise DatasetRejected(f"two files have the name {one.name!r}")
