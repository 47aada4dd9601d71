"""Files of a folder and of the folders below it."""

import os
from collections.abc import Iterator
from pathlib import Path

from app.domain.errors import DatasetRejected
from worker.datasets.decode import MAX_FILE_BYTES, BadImage
from worker.datasets.readers.files import check_count

MAX_DEPTH = 16


class FolderFiles:
    """The regular files below `root`, in sorted order whatever the file system's is.

    Raises DatasetRejected naming a symbolic link that leads out of `root`, or a folder that cannot be listed.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        found = sorted((path.relative_to(self._root).as_posix(), path.stat().st_size) for path in self._walk(self._root, 0))
        check_count(len(found))
        self.paths = tuple(path for path, _ in found)
        self.sizes = tuple(size for _, size in found)

    def read(self, path: str) -> bytes:
        """The content of the file at `path`. Raises BadImage naming it if it is too large or unreadable."""
        try:
            with self._inside(self._root / path).open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise BadImage(path, error.strerror or str(error)) from error
        if len(content) > MAX_FILE_BYTES:
            raise BadImage(path, f"larger than {MAX_FILE_BYTES >> 20} MiB")
        return content

    def _walk(self, folder: Path, depth: int) -> Iterator[Path]:
        if depth > MAX_DEPTH:  # also where a symbolic link to a parent folder ends
            raise DatasetRejected(f"{folder}: folders are nested more than {MAX_DEPTH} deep")
        for entry in self._entries(folder):
            path = folder / entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_symlink():
                self._inside(path)
            if entry.is_dir():
                yield from self._walk(path, depth + 1)
            elif entry.is_file():
                yield path

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return list(entries)
        except OSError as error:
            raise DatasetRejected(f"{folder} cannot be listed: {error.strerror}") from error

    def _inside(self, path: Path) -> Path:
        real = path.resolve()
        if not real.is_relative_to(self._root):
            raise DatasetRejected(f"{path.relative_to(self._root)} is a symbolic link that leads out of the dataset's folder")
        return real
