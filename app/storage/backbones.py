"""Backbones on disk: diffusers-format folders below the configured roots, read without torch."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from app.domain.errors import BackboneUnavailable, InvalidSpec
from app.domain.model import Family
from app.storage.folder import BackboneFolder
from app.storage.pipelines import INDEX, read

__all__ = ["BackboneFolder", "Family", "Roots", "find", "list_all", "list_broken"]

Roots = Sequence[tuple[str, Path]]


def find(roots: Roots, name: str) -> BackboneFolder:
    """The backbone with this name.

    Raises InvalidSpec naming `backbone` for one that no root has, BackboneUnavailable naming the file that is missing or
    malformed. Names are compared with the folders that exist, so none can lead out of the roots.
    """
    folders = dict(_folders(roots))
    if name not in folders:
        nearest = get_close_matches(name, folders, n=3) or sorted(folders)
        raise InvalidSpec.of("backbone", f"no backbone {name!r}; there is {', '.join(nearest) or 'none'}")
    return _read(name, folders[name])


def list_all(roots: Roots) -> list[BackboneFolder]:
    """Every backbone that can be used, by name; `find` says what is wrong with one that is missing here."""
    return [folder for name, path in sorted(_folders(roots)) if (folder := _read_usable(name, path))]


def list_broken(roots: Roots) -> list[tuple[str, str]]:
    """Name and fault of every backbone whose folder cannot be used."""
    broken: list[tuple[str, str]] = []
    for name, path in sorted(_folders(roots)):
        try:
            _read(name, path)
        except BackboneUnavailable as error:
            broken.append((name, str(error)))
    return broken


def _read(name: str, path: Path) -> BackboneFolder:
    return _read_as_it_was(name, path, _marks(path))


@lru_cache(maxsize=256)
def _read_as_it_was(name: str, path: Path, _marks: tuple[object, ...]) -> BackboneFolder:
    """Remembered until any file changes: every job asks, and reading takes some milliseconds. A refusal is not remembered."""
    return read(name, path)


def _marks(path: Path) -> tuple[object, ...]:
    """What changes when a file below does; of its times the one that no copy keeps from before."""
    found: list[object] = []
    for parent, folders, files in os.walk(path, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            with suppress(FileNotFoundError):
                stat = os.stat(os.path.join(parent, name))  # noqa: PTH116, PTH118 - at every request, for every file
                found.append((parent, name, stat.st_ino, stat.st_size, stat.st_ctime_ns))
    return tuple(found)


def _folders(roots: Roots) -> Iterator[tuple[str, Path]]:
    for prefix, root in roots:
        if root.is_dir():
            yield from ((prefix + path.name, path) for path in sorted(root.iterdir()) if (path / INDEX).is_file())


def _read_usable(name: str, path: Path) -> BackboneFolder | None:
    try:
        return _read(name, path)
    except BackboneUnavailable:
        return None
