"""What can be told of a dataset at submission, without reading an image: whether it is there, and its classes."""

import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.domain.dataset_uri import BUNDLED, FIELD, parse, resolve_local
from app.domain.errors import DatasetRejected, InvalidSpec
from app.domain.image_folder import arrange
from app.services.folder_memory import FolderMemory

MAX_DEPTH = 16  # folders; a symbolic link to a parent folder ends here


def class_names(uri: str, roots: Sequence[Path]) -> tuple[str, ...]:
    """The dataset's classes, sorted.

    Raises InvalidSpec naming `dataset_uri` if it is malformed, not allowed, missing, unreadable, or has no classes.
    """
    parsed = parse(uri)
    if parsed.scheme == "sklearn":
        return BUNDLED[parsed.name]
    path = resolve_local(parsed, roots)
    try:
        return _memory.classes(path)
    except OSError as error:
        raise InvalidSpec.of(FIELD, f"{path} cannot be read: {error.strerror}") from error
    except (DatasetRejected, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        # zipfile answers an unknown version with NotImplementedError, names that are no UTF-8 with a ValueError
        raise InvalidSpec.of(FIELD, f"{path}: {error}") from error


def _look(path: Path) -> tuple[tuple[str, ...], list[Path]]:
    """The classes, and the folders walked or the file read."""
    witnesses = [path]
    names = list(_files_below(path, witnesses)) if path.is_dir() else _file_names(path)
    return tuple(sorted({item.class_name for item in arrange(names)})), witnesses


_memory = FolderMemory(_look)


def _file_names(path: Path) -> list[str]:
    if path.is_file() and zipfile.is_zipfile(path):  # opening a pipe would wait for a writer
        with zipfile.ZipFile(path) as archive:
            return [info.filename for info in archive.infolist() if not info.is_dir()]
    path.stat()
    raise DatasetRejected("neither a folder nor a zip file")


def _files_below(folder: Path, walked: list[Path]) -> Iterator[str]:
    for parent, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
        depth = Path(parent).relative_to(folder)
        if len(depth.parts) > MAX_DEPTH:
            raise DatasetRejected(f"folders are nested more than {MAX_DEPTH} deep")
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            _check_inside(folder, Path(parent) / name)
            walked.append(Path(parent) / name)
        yield from ((depth / name).as_posix() for name in files)


def _check_inside(folder: Path, path: Path) -> None:
    """Raises DatasetRejected, as the worker will, for a link to a folder elsewhere: its names are nobody's to list."""
    if path.is_symlink() and not path.resolve().is_relative_to(folder):
        raise DatasetRejected(f"{path.relative_to(folder)} is a symbolic link that leads out of the dataset's folder")


def _raise(error: OSError) -> None:
    raise error
