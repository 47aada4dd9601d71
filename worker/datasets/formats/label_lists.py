"""Read lists of files and labels beside the images: CSV, TSV, JSON Lines, and parquet without
images.
"""

import csv
import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from app.datasets.file_kinds import LISTS
from app.datasets.image_folder import Item
from app.datasets.image_folder.names import readable, suffix_of
from app.datasets.image_folder.tree import Folder
from app.domain.errors import DatasetRejected
from worker.datasets.catalogue import Catalogue, refuse_missing
from worker.datasets.formats.labels import ClassNames, class_text
from worker.datasets.formats.splits import role_of, splits_among
from worker.datasets.readers.files import SourceFiles, check_count

METADATA = "metadata"  # the stem of the list in Hugging Face's image folders; such a list always counts
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target", "breed", "species", "cls", "y")
SPLIT_COLUMNS = ("split", "subset", "set", "partition")
MOST_BYTES = 1 << 30
SAMPLE_ROWS = 50  # rows by which the column of files is found
LEAST_FOUND = 0.5  # of these rows name a file that exists
NUMBERED = 3  # missing files that are named


@dataclass(frozen=True)
class LabelList:
    """A list: its rows, and the columns with the file, the label and perhaps the split."""

    path: str
    rows: Sequence[Mapping[str, Any]]
    file: str
    label: str
    split: str | None


class ImagePaths:
    """Finds the image that a row names: by its path from the folder of the list or from the root,
    or by its name alone if only one image below the list has it; with or without the suffix.
    """

    def __init__(self, root: Folder) -> None:
        self._root = root

    @cached_property
    def _paths(self) -> frozenset[str]:
        return frozenset(self._root.everything())

    @cached_property
    def _by_stem(self) -> dict[str, str | None]:
        """Paths without their suffix; None for one that two images have."""
        return _unambiguous((_without_suffix(path), path) for path in self._paths)

    @cached_property
    def _by_name(self) -> dict[str, str | None]:
        """Names with and without their suffix; None for one that two images have."""
        names = ((path.rpartition("/")[2], path) for path in self._paths)
        return _unambiguous((each, path) for name, path in names for each in {name, _without_suffix(name)})

    def find(self, value: Any, folder: str) -> str | None:
        text = str(value).replace("\\", "/").removeprefix("./")
        for path in (f"{folder}/{text}" if folder else text, text):
            if path in self._paths:
                return path
            if (found := self._by_stem.get(path)) is not None:
                return found
        named = self._by_name.get(text)
        return named if named is not None and named.startswith(f"{folder}/" if folder else "") else None


def _without_suffix(path: str) -> str:
    return path.removesuffix(f".{suffix_of(path)}")


def _unambiguous(pairs: Iterable[tuple[str, str]]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for key, path in pairs:
        found[key] = None if key in found else path
    return found


def label_lists(files: SourceFiles, paths: Iterable[str], images: ImagePaths) -> list[LabelList]:
    """The lists among these files; others are passed over."""
    found = (_label_list(files, path, images) for path in sorted(paths) if suffix_of(path).casefold() in LISTS)
    return [each for each in found if each is not None]


def lists_catalogue(
    files: SourceFiles, lists: Sequence[LabelList], images: ImagePaths, chosen: Collection[str] | None = None
) -> Catalogue:
    """The images that the lists name.

    Raises InvalidSpec for a chosen class that no row has, and DatasetRejected if no file of a list
    exists, or two lists name one file.
    """
    rows: dict[str, list[tuple[str, str]]] = {}
    missing: list[str] = []
    unlabelled = 0
    names = ClassNames()
    for each in lists:
        folder = each.path.rpartition("/")[0]
        for row in each.rows:
            path, label = images.find(row.get(each.file), folder), class_text(row.get(each.label), names)
            group = each.path if each.split is None else str(row.get(each.split) or "")
            if path is None:
                missing.append(f"{row.get(each.file)}")
            elif label is None:
                unlabelled += 1
                rows.setdefault(group, [])
            else:
                rows.setdefault(group, []).append((path, label))
    check_count(sum(map(len, rows.values())))
    splits = splits_among({group: len(those) for group, those in rows.items()})
    items = [Item(path, readable(path), label, splits.of[group]) for group in splits.of for path, label in rows[group]]
    _refuse_repeated(items)
    classes = tuple(sorted({item.class_name for item in items}))
    refuse_missing(None if chosen is None else list(chosen), classes)
    left_out = [*splits.left_out]
    if missing:
        left_out.append(f"listed files that are not there: {len(missing):,} ({', '.join(missing[:NUMBERED])})")
    if unlabelled:
        left_out.append(f"listed files without a label: {unlabelled:,}")
    told = f"labels are read from {', '.join(each.path for each in lists[:NUMBERED])}"
    wanted = frozenset(classes if chosen is None else chosen)
    chosen_items = [item for item in items if item.class_name in wanted]
    return Catalogue(files, chosen_items, classes, splits.tested, tuple(left_out), (told, *splits.doubts))


def is_metadata(path: str) -> bool:
    """Whether a list has the name that Hugging Face gives to the list of an image folder."""
    return path.rpartition("/")[2].partition(".")[0] == METADATA


def _refuse_repeated(items: Sequence[Item]) -> None:
    label_of: dict[str, str] = {}
    for item in items:
        if label_of.setdefault(item.path, item.class_name) != item.class_name:
            raise DatasetRejected(f"{item.name} is listed twice, as {label_of[item.path]!r} and as {item.class_name!r}")
    if len(label_of) != len(items):
        raise DatasetRejected("a file is listed in two rows; keep one of them")


def _label_list(files: SourceFiles, path: str, images: ImagePaths) -> LabelList | None:
    if files.size(path) > MOST_BYTES:
        return None
    try:
        rows = list(_rows(files.local(path).read_bytes(), suffix_of(path).casefold()))
    except (ValueError, csv.Error, RecursionError):
        return None
    columns = list(dict.fromkeys(key for row in rows[:SAMPLE_ROWS] for key in row))
    folder = path.rpartition("/")[0]
    file = max(columns, key=lambda name: _found(rows, name, folder, images), default=None)
    if file is None or _found(rows, file, folder, images) < LEAST_FOUND:
        return None
    label = _label_column(rows, [name for name in columns if name != file])
    split = next((name for name in columns if name.casefold() in SPLIT_COLUMNS and _names_splits(rows, name)), None)
    return None if label is None else LabelList(path, rows, file, label, split)


def _rows(content: bytes, suffix: str) -> Iterator[dict[str, Any]]:
    text = content.decode("utf-8-sig")
    if suffix in ("csv", "tsv"):
        first = text.partition("\n")[0]
        delimiter = max("\t,;", key=first.count)
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        yield from ({key: value for key, value in row.items() if isinstance(key, str)} for row in reader)
        return
    for line in text.splitlines():
        if line.strip():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise TypeError("a line is no object")
            yield row


def _found(rows: Sequence[Mapping[str, Any]], column: str, folder: str, images: ImagePaths) -> float:
    """The share of the first rows whose value in `column` names an image."""
    looked = rows[:SAMPLE_ROWS]
    return sum(isinstance(row.get(column), str) and images.find(row[column], folder) is not None for row in looked) / len(
        looked
    )


def _label_column(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str | None:
    lower = {name.casefold(): name for name in reversed(columns)}
    named = next((lower[name] for name in LABEL_COLUMNS if name in lower), None)
    found = named or (columns[0] if len(columns) == 1 else None)
    if found is None or not all(isinstance(row.get(found), (str, int)) or row.get(found) is None for row in rows[:SAMPLE_ROWS]):
        return None
    return found


def _names_splits(rows: Sequence[Mapping[str, Any]], column: str) -> bool:
    return all(role_of(str(row.get(column))) is not None for row in rows[:SAMPLE_ROWS])
