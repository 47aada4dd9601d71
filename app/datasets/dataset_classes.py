"""The classes of a dataset, found at submission without reading an image."""

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.datasets.file_kinds import HEAD_BYTES, LISTS, REFUSED, UNKNOWN, FileKind, kind_of, kinds_among
from app.datasets.folder_memory import FolderMemory
from app.datasets.image_folder import LimitReached, Limits, Listing, arrange, listing_of, refuse_untrained, walk
from app.datasets.image_folder.names import is_text, suffix_of
from app.datasets.look_pool import LookPool
from app.datasets.zip_names import zip_names
from app.domain.dataset_uri import BUNDLED, FIELD, DatasetUri, check_bucket, parse, resolve_local
from app.domain.errors import DatasetRejected, InvalidSpec

LIMITS = Limits(entries=2_000_000, seconds=5.0, folders=20_000, kept=1)


@dataclass(frozen=True)
class Classes:
    """The dataset's classes, sorted, and the classes that only the test split has."""

    names: tuple[str, ...]
    untrained: tuple[str, ...] = ()


def class_names(
    uri: str, roots: Sequence[Path], chosen: Sequence[str] | None = None, buckets: Sequence[str] = ()
) -> tuple[str, ...] | None:
    """The dataset's classes, sorted; None if the worker must find them, because the dataset is
    elsewhere, too large to list now, or of another format than class folders.

    Raises InvalidSpec that names `dataset_uri` if the URI is malformed, not allowed, missing or
    unreadable, or if the dataset has no classes, or no training images of a `chosen` class. Raises
    DatasetBusy while too many datasets are being listed.
    """
    parsed = parse(uri)
    if parsed.scheme == "sklearn":
        return BUNDLED[parsed.name]
    if parsed.scheme != "file":
        check_bucket(parsed, buckets)
        return None
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
        if path.is_dir():
            return _in_folder(path, walk(path, roots, LIMITS, walked)), walked
        return _in_file(path), walked
    except LimitReached:
        return None, walked


def _in_folder(path: Path, listing: Listing) -> Classes | None:
    def may_be_data() -> bool:
        return bool(kinds_among(listing.others, lambda name: _head(path / name)))

    return _understood(listing, may_be_data)


def _in_file(path: Path) -> Classes | None:
    """The classes in a zip of class folders; None for another format that the worker reads."""
    kind = kind_of(_head(path))
    if kind is FileKind.ZIP:
        listing = listing_of(zip_names(path), kept=1)
        return _understood(listing, lambda: not all(map(is_text, listing.others)))
    if kind is not None and kind in REFUSED:
        raise DatasetRejected(REFUSED[kind])
    if kind is None and not _is_list(path.name):
        raise DatasetRejected(UNKNOWN)
    return None


def _understood(listing: Listing, may_be_data: Callable[[], bool]) -> Classes | None:
    """The classes of class folders; None if lists or other files may be the dataset."""
    listed = any(map(_is_list, listing.others))
    try:
        layout = arrange(listing)
    except DatasetRejected:
        if listed or may_be_data():
            return None
        raise
    if listed or (len(layout.classes) == 1 and may_be_data()):
        return None
    return Classes(layout.classes, layout.untrained)


def _is_list(path: str) -> bool:
    return suffix_of(path).casefold() in LISTS


def _head(path: Path) -> bytes:
    if not path.is_file():  # opening a pipe would block
        path.stat()
        return b""
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


_memory = FolderMemory(_look)
_pool = LookPool()
