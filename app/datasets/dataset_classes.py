"""The classes of a dataset, found at submission without reading an image."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.datasets.folder_memory import FolderMemory
from app.datasets.image_folder import LimitReached, Limits, arrange, listing_of, refuse_untrained, walk
from app.datasets.image_folder.zip_member import NEITHER
from app.datasets.look_pool import LookPool
from app.datasets.zip_names import zip_names
from app.domain.dataset_uri import BUNDLED, FIELD, DatasetUri, parse, resolve_local
from app.domain.errors import DatasetRejected, InvalidSpec

LIMITS = Limits(entries=2_000_000, seconds=5.0, folders=20_000, kept=1)


@dataclass(frozen=True)
class Classes:
    """The dataset's classes, sorted, and the classes that only the test split has."""

    names: tuple[str, ...]
    untrained: tuple[str, ...] = ()


def class_names(uri: str, roots: Sequence[Path], chosen: Sequence[str] | None = None) -> tuple[str, ...] | None:
    """The dataset's classes, sorted; None if it is too large to list now (the worker will).

    Raises InvalidSpec that names `dataset_uri` if the URI is malformed, not allowed, missing or
    unreadable, or if the dataset has no classes, or no training images of a `chosen` class. Raises
    DatasetBusy while too many datasets are being listed.
    """
    parsed = parse(uri)
    if parsed.scheme == "sklearn":
        return BUNDLED[parsed.name]
    path, classes = _pool.run((parsed, tuple(roots)), lambda: _classes_at(parsed, tuple(roots)))
    if classes is None:
        return None
    try:
        refuse_untrained(classes.untrained, chosen)
    except DatasetRejected as error:
        raise InvalidSpec.of(FIELD, f"{path}: {error}") from error
    return classes.names


def _classes_at(uri: DatasetUri, roots: tuple[Path, ...]) -> tuple[Path, Classes | None]:
    """The resolved path and its classes. May hang, as any access to the disk may."""
    path = resolve_local(uri, roots)
    try:
        return path, _memory.look((path, roots))
    except OSError as error:
        raise InvalidSpec.of(FIELD, f"{path} cannot be read: {error.strerror}") from error
    except (DatasetRejected, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        # NotImplementedError: unknown zip version. ValueError: names that are not UTF-8.
        raise InvalidSpec.of(FIELD, f"{path}: {error}") from error


def _look(key: tuple[Path, tuple[Path, ...]]) -> tuple[Classes | None, Sequence[str]]:
    """The classes (None above the limits), and the folders or the file that were read."""
    path, roots = key
    walked: list[str] = [str(path)]
    try:
        listing = walk(path, roots, LIMITS, walked) if path.is_dir() else listing_of(_names_in_file(path), kept=1)
        layout = arrange(listing)
    except LimitReached:
        return None, walked
    return Classes(layout.classes, layout.untrained), walked


def _names_in_file(path: Path) -> list[str]:
    path.stat()
    if path.is_file() and zipfile.is_zipfile(path):  # opening a pipe would block
        return zip_names(path)
    raise DatasetRejected(NEITHER)


_memory = FolderMemory(_look)
_pool = LookPool()
