"""What can be told of a dataset at submission, without reading an image: whether it is there, and its classes."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

from app.domain.dataset_uri import FIELD, DatasetUri, parse, resolve_local
from app.domain.errors import InvalidSpec

BUNDLED_CLASSES = {"digits": tuple("0123456789")}
TRAIN = "train"
SPLITS = (TRAIN, "test", "val", "valid", "validation")


def class_names(uri: str, roots: Sequence[Path]) -> tuple[str, ...] | None:
    """The dataset's classes, or None where only reading it would tell.

    Raises InvalidSpec naming `dataset_uri` if it is malformed, not allowed, missing, unreadable, or has no classes.
    """
    parsed = parse(uri)
    if parsed.scheme == "sklearn":
        return BUNDLED_CLASSES[parsed.name]
    return _local_classes(parsed, roots)


def _local_classes(uri: DatasetUri, roots: Sequence[Path]) -> tuple[str, ...] | None:
    path = resolve_local(uri, roots)
    try:
        if path.is_dir():
            return _folder_classes(path)
        if zipfile.is_zipfile(path):
            return None
        path.stat()
    except OSError as error:
        raise InvalidSpec.of(FIELD, f"{uri.path} cannot be read: {error.strerror}") from error
    raise InvalidSpec.of(FIELD, f"{uri.path} is neither a folder nor a zip file")


def _folder_classes(folder: Path) -> tuple[str, ...]:
    tops = _filled_folders(folder)
    if not tops:
        raise InvalidSpec.of(
            FIELD, f"{folder} has no class folders with images; expected class/image.png or train/class/image.png"
        )
    below = {name: _filled_folders(folder / name) for name in tops}
    if below.get(TRAIN):
        return below[TRAIN]
    only = tops[0]
    if len(tops) == 1 and below[only] and only not in SPLITS:
        return _folder_classes(folder / only)
    return tops


def _filled_folders(folder: Path) -> tuple[str, ...]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir() and _visible(entry.name)]
    return tuple(sorted(name for name in names if _has_file(folder / name)))


def _has_file(folder: Path) -> bool:
    return any(_visible(file) for _, _, files in os.walk(folder) for file in files)


def _visible(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"
