"""The catalog of backbones: folders in diffusers' format below the roots, read without torch."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

from app.backbones.folder import BackboneFolder
from app.backbones.odd_entries import leads_nowhere, oddity
from app.backbones.pipelines import read
from app.domain.backbone import Family
from app.domain.errors import BackboneRejected, BackboneUnavailable, InvalidSpec
from app.domain.suggestions import nearest
from app.fingerprints import fingerprint

__all__ = ["BackboneFolder", "Family", "Roots", "find", "survey"]

Roots = Sequence[tuple[str, Path]]

WEIGHT_SUFFIXES = (".safetensors", ".ckpt", ".bin", ".pt", ".pth", ".gguf", ".zip")
MOST_ENTRIES = 10_000  # of a folder and its sub-folders; every job checks each of them


def find(roots: Roots, name: str) -> BackboneFolder:
    """The backbone with this name.

    Compares the name with existing entries, so that no name leads out of the roots.

    Raises InvalidSpec that names `backbone` if no root has it, BackboneUnavailable that names a
    missing file, BackboneRejected that names an unusable one.
    """
    entries = dict(_entries(roots))
    if name not in entries:
        meant = next((entry for entry in entries if Path(entry).stem == name and Path(entry).suffix in WEIGHT_SUFFIXES), None)
        if meant is not None:
            raise InvalidSpec.of("backbone", f"{entries[meant]} {oddity(entries[meant])}")
        usable = [folder.name for folder in survey(roots)[0]]
        raise InvalidSpec.of("backbone", f"no backbone {name!r}; {nearest(name, usable)}")
    if (odd := oddity(entries[name])) is not None:
        if leads_nowhere(entries[name]):
            raise BackboneUnavailable(f"backbone {name}: {entries[name]} {odd}")
        raise InvalidSpec.of("backbone", f"{entries[name]} {odd}")
    return _read(name, entries[name])


def survey(roots: Roots) -> tuple[list[BackboneFolder], list[tuple[str, str]]]:
    """All usable backbones by name, and pairs of name and fault for the other entries."""
    looked_at = [_read_or_fault(name, path) for name, path in sorted(_entries(roots))]
    usable = [one for one in looked_at if isinstance(one, BackboneFolder)]
    return usable, [(one.name, one.fault) for one in looked_at if isinstance(one, _Broken)]


@dataclass(frozen=True)
class _Broken:
    name: str
    fault: str


def _read_or_fault(name: str, path: Path) -> BackboneFolder | _Broken:
    shown = name.encode("utf-8", "backslashreplace").decode()
    try:
        if shown != name:
            return _Broken(shown, f"the name of {shown} is not UTF-8")
        if (odd := oddity(path)) is not None:
            return _Broken(name, f"{path} {odd}")
        return _read(name, path)
    except (BackboneUnavailable, InvalidSpec) as error:
        return _Broken(name, str(error))
    except (OSError, ValueError, RecursionError) as error:
        return _Broken(name, f"{path}: {error}")


def _read(name: str, path: Path) -> BackboneFolder:
    return _read_as_it_was(name, path, _marks(path))


@lru_cache(maxsize=256)
def _read_as_it_was(name: str, path: Path, _marks: tuple[object, ...]) -> BackboneFolder:
    """Cached until a file changes, because reading takes milliseconds and every job asks.

    Does not cache a refusal.
    """
    return read(name, path)


def _marks(path: Path) -> tuple[object, ...]:
    """Fingerprint of the files in the folder and in its sub-folders; a backbone is no deeper.

    Follows links.
    """
    entries = list(islice(_statted(path), MOST_ENTRIES))
    deeper = (each for entry in entries if entry.is_dir for each in _statted(path / entry.name))
    marks = (*entries, *islice(deeper, MOST_ENTRIES))
    if len(marks) >= MOST_ENTRIES:
        raise BackboneRejected(
            f"backbone {path.name}: {path}: it holds more than {MOST_ENTRIES:,} files; remove what is no model"
        )
    return marks


@dataclass(frozen=True)
class _Entry:
    folder: str
    name: str
    is_dir: bool
    mark: tuple[int, ...]


def _statted(folder: Path) -> Iterator[_Entry]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                stat, is_dir = entry.stat(), entry.is_dir()
                mark = () if is_dir else fingerprint(stat)
                if not entry.name.startswith("."):
                    yield _Entry(str(folder), entry.name, is_dir, mark)


def _entries(roots: Roots) -> Iterator[tuple[str, Path]]:
    """The entries below the roots that a user may mean as a backbone."""
    for prefix, root in roots:
        names: list[str] = []
        with suppress(OSError):
            names = sorted(name for name in os.listdir(root) if not name.startswith("."))  # noqa: PTH208 - names that are no UTF-8
        yield from ((prefix + name, root / name) for name in names if _may_be_one(root / name))


def _may_be_one(path: Path) -> bool:
    """Whether it is a folder, a file of weights, or a broken link."""
    try:
        return path.is_dir() or path.suffix in WEIGHT_SUFFIXES or leads_nowhere(path)
    except OSError:
        return True
