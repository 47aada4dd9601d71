"""Read the files below a folder."""

import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from app.datasets.file_kinds import HEAD_BYTES
from app.datasets.image_folder.names import readable
from app.domain.errors import DatasetRejected
from worker.datasets.decode import MAX_FILE_BYTES, BadImage
from worker.datasets.readers.regular_file import OpenFolder, regular_descriptor


class FolderFiles:
    """The regular files below `root`, and those below `roots` that its links lead to."""

    def __init__(self, root: Path, roots: Sequence[Path]) -> None:
        self._root = root.resolve()
        self._roots = tuple(one.resolve() for one in roots)
        self._latest = threading.local()  # the last folder of each thread, open: a class's files come one after another

    def size(self, path: str) -> int:
        """The size in bytes; 0 if the file is missing."""
        try:
            return os.stat(f"{self._root}/{path}").st_size  # noqa: PTH116 - a Path for each of a million files is slow
        except OSError:
            return 0

    def read(self, path: str) -> bytes:
        """The content of the file at `path`.

        Raises BadImage naming it if it is too large or unreadable.
        """
        try:
            with os.fdopen(self._descriptor(path), "rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise BadImage(readable(path), error.strerror or str(error)) from error
        if len(content) > MAX_FILE_BYTES:
            raise BadImage(readable(path), f"larger than {MAX_FILE_BYTES >> 20} MiB")
        return content

    def _descriptor(self, path: str) -> int:
        """The file, open, from its open folder: nothing that happens to the folder's name matters.

        A link is resolved, and checked as `local` does.
        """
        folder, _, name = path.rpartition("/")
        try:
            return regular_descriptor(name, self._folder(folder))
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            return regular_descriptor(self.local(path))

    def _folder(self, folder: str) -> int:
        latest: OpenFolder | None = getattr(self._latest, "folder", None)
        if latest is None or latest.name != folder:
            latest = OpenFolder(folder, self.local(folder))
            self._latest.folder = latest
        return latest.descriptor

    def head(self, path: str) -> bytes:
        try:
            with os.fdopen(self._descriptor(path), "rb") as file:
                return file.read(HEAD_BYTES)
        except OSError:
            return b""

    def local(self, path: str) -> Path:
        """The resolved path, checked again: the file may have been replaced since the listing."""
        real = (self._root / path).resolve()
        if not any(real.is_relative_to(root) for root in self._roots):
            raise DatasetRejected(f"{readable(path)} is a symbolic link that leads out of the folders that may be read")
        return real
