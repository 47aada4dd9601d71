"""What a folder and a zip have in common: paths, and the bytes behind them."""

from typing import Protocol

from app.domain.errors import DatasetRejected


class Files(Protocol):
    """Named files. `paths` are relative, with `/`, and sorted; `sizes` are in bytes, in the same order."""

    @property
    def paths(self) -> tuple[str, ...]: ...

    @property
    def sizes(self) -> tuple[int, ...]: ...

    def read(self, path: str) -> bytes:
        """The whole content. Raises BadImage naming `path` if it is too large or cannot be read."""
        ...


MAX_FILES = 2_000_000


def check_count(count: int) -> None:
    """Raises DatasetRejected above MAX_FILES."""
    if count > MAX_FILES:
        raise DatasetRejected(f"more than {MAX_FILES:,} files")
