"""The common interface of a folder and a zip: the content of a path."""

from typing import Protocol

from app.domain.errors import DatasetRejected


class Files(Protocol):
    """Named files."""

    def size(self, path: str) -> int:
        """The size in bytes, known before reading."""
        ...

    def read(self, path: str) -> bytes:
        """The whole content. Raises BadImage that names `path` if it is too large or unreadable."""
        ...


MAX_FILES = 2_000_000


def check_count(count: int) -> None:
    """Raises DatasetRejected above MAX_FILES."""
    if count > MAX_FILES:
        raise DatasetRejected(f"more than {MAX_FILES:,} files")
