"""What a folder and a zip have in common: the bytes behind a path."""

from typing import Protocol

from app.domain.errors import DatasetRejected


class Files(Protocol):
    """Named files."""

    def size(self, path: str) -> int:
        """In bytes, before it is read."""
        ...

    def read(self, path: str) -> bytes:
        """The whole content. Raises BadImage naming `path` if it is too large or cannot be read."""
        ...


MAX_FILES = 2_000_000


def check_count(count: int) -> None:
    """Raises DatasetRejected above MAX_FILES."""
    if count > MAX_FILES:
        raise DatasetRejected(f"more than {MAX_FILES:,} files")
