"""A file that refuses large reads, for libraries that read as much as a damaged file asks for."""

import os
from pathlib import Path

from app.domain.errors import DatasetRejected
from worker.datasets.readers.regular_file import regular_descriptor


class BoundedFile:
    """The file at `path`, open for reading; closed with the object.

    A read of more than `most_bytes` raises DatasetRejected with the text `refusal`.
    """

    def __init__(self, path: Path, most_bytes: int, refusal: str) -> None:
        self._most_bytes, self._refusal = most_bytes, refusal
        self._descriptor: int | None = regular_descriptor(path)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        descriptor, self._descriptor = getattr(self, "_descriptor", None), None
        if descriptor is not None:
            os.close(descriptor)

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.seek(0, os.SEEK_CUR)

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        return os.lseek(self._opened(), place, whence)

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, fewer only at the end."""
        if size > self._most_bytes:
            raise DatasetRejected(self._refusal)
        wanted = size if size >= 0 else self._most_bytes
        parts: list[bytes] = []
        while wanted and (part := os.read(self._opened(), wanted)):
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)

    def read_at(self, place: int, size: int) -> bytes:
        """At most `size` bytes from `place`. Threads may call it at the same time."""
        return os.pread(self._opened(), size, place)

    def _opened(self) -> int:
        if self._descriptor is None:
            raise ValueError("the file is closed")
        return self._descriptor
