"""What the services need of the outside world."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Literal, Protocol

from app.domain.artifact import Artifact
from app.domain.job import Queue


class TaskQueue(Protocol):
    """Wakes workers. The database is the truth: a lost message costs time, never work, and one too many costs a look."""

    def wake(self, queue: Queue, count: int = 1) -> None:
        """Tell up to `count` workers that tasks of this queue are ready. Never raises, and never waits for long."""
        ...

    def close(self) -> None:
        """Before the process ends: see that what was asked for is sent, if the way is free."""
        ...


class ArtifactStore(Protocol):
    """Keeps immutable blobs by key; a key is a relative POSIX path without dot segments."""

    def put(self, key: str, source: Path, media_type: str, tick: Callable[[], None] = lambda: None) -> Artifact:
        """Store the file's bytes under `key`, all or nothing. Raises StorageUnavailable.

        `tick` is called after each part of the file, and may raise to stop.
        """
        ...

    def open(self, key: str) -> AbstractContextManager[IO[bytes]]:
        """The stored bytes as a seekable stream.

        Raises ArtifactNotReady if there are none, ArtifactDamaged if something else than a file has the key.
        """
        ...

    def file(self, key: str) -> IO[bytes] | None:
        """The open file where the store is a folder on this machine, else None. Raises what `open` raises."""
        ...

    def size_bytes(self, key: str) -> int:
        """How long the stored bytes are now. Raises what `open` raises."""
        ...

    def url(self, key: str, seconds: float, method: Literal["GET", "HEAD"] = "GET") -> str | None:
        """Where anybody may read the bytes for `seconds`, by this method; None where the store is a folder."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that starts with `prefix`, sorted, listed as they are consumed."""
        ...

    def check(self) -> None:
        """Raises StorageUnavailable unless the store answers and takes our keys. Many call it often: a bucket is only read."""
        ...

    def check_writable(self) -> None:
        """Raises StorageUnavailable unless the store can be written now; nothing of the trial is kept."""
        ...

    def delete(self, keys: Sequence[str]) -> None:
        """Remove these; one that is not there is no error. Raises StorageUnavailable."""
        ...

    def delete_prefix(self, prefix: str) -> None:
        """Remove everything under `prefix` (which ends in a slash); nothing there is no error."""
        ...

    def sweep(self, older_than_seconds: float = 86400.0) -> int:
        """How many leftovers of interrupted puts were removed that nobody touched for `older_than_seconds`."""
        ...
