"""Read back what sample tasks have stored, one task at a time, and check it."""

import errno
import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from app.domain.errors import ArtifactDamaged, ArtifactNotReady, SamplesDamaged
from app.domain.spec.evaluation import Arm
from worker.progress import Heartbeat
from worker.stages.context import TaskContext, WorkerContext
from worker.stages.outputs import SampleOutput

CHUNK_BYTES = 1 << 20
UNREADABLE = (zipfile.BadZipFile, EOFError, KeyError, ValueError)  # what numpy raises for a damaged file

Columns = Mapping[str, np.ndarray]


def columns_of(task: TaskContext, worker: WorkerContext, arm: Arm, heartbeat: Heartbeat) -> Iterator[Columns]:
    """The columns of each sample task of the arm, in the order of the classes.

    Those of one task are in memory at a time.

    `heartbeat` is called after each part of a file. Raises SamplesDamaged after all files were
    read, if some of them are missing or changed.
    """
    damaged: list[str] = []
    for output in task.sampled(arm):
        columns = _read(worker, output, task.scratch / "part.npz", heartbeat)
        if columns is None:
            damaged.append(output.key)
        elif not damaged:
            yield columns
    if damaged:
        raise SamplesDamaged(damaged)


def _read(worker: WorkerContext, output: SampleOutput, copy: Path, heartbeat: Heartbeat) -> Columns | None:
    """None if the file is missing or damaged. Raises StorageUnavailable."""
    try:
        sha256 = _fetch(worker, output.key, copy, heartbeat)
        if output.sha256 not in (None, sha256):  # an earlier version stored no hash
            return None
        with copy.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (ArtifactDamaged, ArtifactNotReady, *UNREADABLE):
        return None


def _fetch(worker: WorkerContext, key: str, copy: Path, heartbeat: Heartbeat) -> str:
    """The SHA-256 of what was copied.

    Raises ArtifactDamaged, ArtifactNotReady, StorageUnavailable.
    """
    digest = hashlib.sha256()
    with worker.store.open(key) as stream, copy.open("wb") as file:
        while chunk := _next_chunk(stream, key):
            digest.update(chunk)
            file.write(chunk)
            heartbeat()
    return digest.hexdigest()


def _next_chunk(stream: IO[bytes], key: str) -> bytes:
    """Raises ArtifactDamaged if the disk cannot read its own blocks.

    Other errors may pass, or belong to the copy.
    """
    try:
        return stream.read(CHUNK_BYTES)
    except OSError as error:
        if error.errno == errno.EIO:
            raise ArtifactDamaged(f"{key} cannot be read from its disk") from error
        raise
