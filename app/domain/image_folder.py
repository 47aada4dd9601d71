"""Which class and split each path of an image folder belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.errors import DatasetRejected

TRAIN = "train"
TEST_NAMES = ("test", "val", "valid", "validation")  # the first one present is the test split
NOT_IMAGES = frozenset({"Thumbs.db", "desktop.ini", "Icon\r"})


@dataclass(frozen=True)
class Item:
    """One image file: `path` as its reader knows it, `name` without the wrapping folder, `split` None if there are none."""

    path: str
    name: str
    class_name: str
    split: str | None


def arrange(paths: Sequence[str]) -> list[Item]:
    """The files that lie in class folders, sorted by name.

    Accepts class/…/file, {train,test}/class/…/file (or val, valid, validation for test), and either of them inside one
    wrapping folder. Hidden files and files beside the class folders are ignored. Raises DatasetRejected if no class folder is
    found or train/ stands beside folders that are no splits.
    """
    visible = {path: tuple(path.split("/")) for path in paths if not _hidden(path)}
    skip = 1 if _wrapped(list(visible.values())) else 0
    parts = {path: pieces[skip:] for path, pieces in visible.items() if len(pieces) > skip + 1}
    if not parts:
        raise DatasetRejected("no class folders with images: expected class/image.png, or train/class/image.png")
    test = _test_name(list(parts.values()))
    items = [_item(path, pieces, test) for path, pieces in parts.items()]
    return sorted((item for item in items if item is not None), key=lambda item: item.name)


def _hidden(path: str) -> bool:
    pieces = path.split("/")
    return any(piece.startswith(".") or piece == "__MACOSX" for piece in pieces) or pieces[-1] in NOT_IMAGES


def _wrapped(all_parts: Sequence[tuple[str, ...]]) -> bool:
    tops = {pieces[0] for pieces in all_parts}
    deep = any(len(pieces) > 2 for pieces in all_parts)
    return deep and len(tops) == 1 and tops.isdisjoint({TRAIN, *TEST_NAMES})


def _test_name(all_parts: Sequence[tuple[str, ...]]) -> str | None:
    """The folder that is the test split, "" if train/ stands alone, None if the dataset has no splits."""
    split_tops = {pieces[0] for pieces in all_parts if len(pieces) > 2}
    tops = {pieces[0] for pieces in all_parts}
    if TRAIN not in split_tops:
        if tops <= set(TEST_NAMES) and split_tops:
            raise DatasetRejected(f"there is {min(tops)}/ but no train/")
        return None
    foreign = sorted(tops - {TRAIN, *TEST_NAMES})
    if foreign:
        raise DatasetRejected(f"train/ stands beside {foreign[0]}/, which is no split; expected train/ and test/ or val/")
    return next((name for name in TEST_NAMES if name in split_tops), "")


def _item(path: str, pieces: tuple[str, ...], test: str | None) -> Item | None:
    name = "/".join(pieces)
    if test is None:
        return Item(path, name, pieces[0], None)
    if len(pieces) < 3 or pieces[0] not in (TRAIN, test):
        return None
    return Item(path, name, pieces[1], TRAIN if pieces[0] == TRAIN else TEST_NAMES[0])
