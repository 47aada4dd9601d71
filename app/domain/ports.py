"""Protocols of the message broker and the artifact store that the services use."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Literal, Protocol

from app.domain.artifact import Artifact
from app.domain.job import Queue


class TaskQueue(Protocol):
    """Wakes workers.

    The database holds the tasks, so a lost message only delays a task, and a superfluous one costs
    a query.
    """

    def wake(self, queue: Queue, count: int = 1) -> None:
        """Tell up to `count` workers that this queue has ready tasks. Never raises."""
        ...

    def close(self) -> None:
        """Call before the process ends: sends the pending messages if the broker answers."""
        ...


class ArtifactStore(Protocol):
    """Stores immutable blobs by key. A key is a relative POSIX path without dot segments."""

    def put(self, key: str, source: Path, media_type: str, tick: Callable[[], None] = lambda: None) -> Artifact:
        """Store the file's bytes under `key`, all or nothing. Raises StorageUnavailable.

        Calls `tick` after each part of the file; `tick` may raise to stop.
        """
        ...

    def open(self, key: str) -> AbstractContextManager[IO[bytes]]:
        """The stored bytes as a seekable stream.

        Raises ArtifactNotReady if there are none, ArtifactDamaged if the key is not that of a file.
        """
        ...

    def file(self, key: str) -> IO[bytes] | None:
        """The open file if the store is a folder on this machine, else None. Raises as `open`."""
        ...

    def size_bytes(self, key: str) -> int:
        """The present size of the stored bytes. Raises as `open`."""
        ...

    def url(self, key: str, seconds: float, method: Literal["GET", "HEAD"] = "GET") -> str | None:
        """A URL at which anybody may read the bytes by this method for `seconds`; None if the store
        is a folder.
        """
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that starts with `prefix`, sorted; lists lazily."""
        ...

    def check(self) -> None:
        """Raises StorageUnavailable unless the store answers and accepts the credentials.

        Only reads a bucket, because many processes call this often.
        """
        ...

    def check_writable(self) -> None:
        """Raises StorageUnavailable unless the store can be written; removes what it wrote."""
        ...

    def delete(self, keys: Sequence[str]) -> None:
        """Remove these keys; ignores missing ones. Raises StorageUnavailable."""
        ...

    def delete_prefix(self, prefix: str) -> None:
        """Remove everything under `prefix`, which ends in a slash; ignores a missing one."""
        ...

    def sweep(self, older_than_seconds: float = 86400.0) -> int:
        """Remove leftovers of interrupted puts that are older; return their number."""
        ...
