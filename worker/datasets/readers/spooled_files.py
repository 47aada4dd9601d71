"""Contents in one file on disk, for sources that can only be read from their beginning to their
end.
"""

from pathlib import Path
from typing import Self

from worker.datasets.decode import MAX_FILE_BYTES, Undecodable
from worker.datasets.readers.bounded_file import BoundedFile

BUFFER_BYTES = 1 << 20


class Spool:
    """Appends contents to the file at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb", BUFFER_BYTES)
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def add(self, content: bytes) -> str:
        """Append the content; return the path by which `files()` reads it."""
        place, self._end = self._end, self._end + len(content)
        self._file.write(content)
        return f"{place}:{len(content)}"

    def files(self) -> "SpooledFiles":
        """The contents so far."""
        self._file.flush()
        return SpooledFiles(self._path)


class SpooledFiles:
    """The contents of a Spool. A path is "place:size"."""

    def __init__(self, path: Path) -> None:
        self._file = BoundedFile(path, MAX_FILE_BYTES, "")

    def size(self, path: str) -> int:
        return int(path.partition(":")[2])

    def read(self, path: str) -> bytes:
        """The content. Raises Undecodable if it is too large."""
        place, _, size = path.partition(":")
        if int(size) > MAX_FILE_BYTES:
            raise Undecodable(f"larger than {MAX_FILE_BYTES >> 20} MiB")
        return self._file.read_at(int(place), int(size))
