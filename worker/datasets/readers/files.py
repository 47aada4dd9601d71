"""The common interface of a folder, a zip and a tar: the content of a path."""

from pathlib import Path
from typing import Protocol

from app.domain.errors import DatasetRejected


class Files(Protocol):
    """Named files."""

    def size(self, path: str) -> int:
        """The size in bytes, known before reading; 0 if the file is missing."""
        ...

    def read(self, path: str) -> bytes:
        """The whole content. Raises BadImage that names `path` if it is too large or unreadable."""
        ...


class SourceFiles(Files, Protocol):
    """The files of a dataset as its user stores them."""

    def head(self, path: str) -> bytes:
        """The first bytes, at most `file_kinds.HEAD_BYTES`; none if the file is unreadable."""
        ...

    def local(self, path: str) -> Path:
        """A file on this machine with the content; may unpack it. Raises DatasetRejected."""
        ...


MAX_FILES = 2_000_000


def check_count(count: int) -> None:
    """Raises DatasetRejected above MAX_FILES."""
    if count > MAX_FILES:
        raise DatasetRejected(f"more than {MAX_FILES:,} files")
