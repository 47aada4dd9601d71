"""What sample tasks have stored: read one task at a time, and checked."""

import errno
import hashlib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from app.domain.artifact import Artifact
from app.domain.errors import ArtifactDamaged, ArtifactNotReady, SamplesDamaged
from app.domain.job import TaskKind
from app.domain.spec import Arm
from worker.stages.base import WorkerContext, TaskContext, output_of

CHUNK_BYTES = 1 << 20
UNREADABLE = (zipfile.BadZipFile, EOFError, KeyError, ValueError)  # what numpy raises for a file that is not as it was

Columns = Mapping[str, np.ndarray]
Tick = Callable[[], None]


def outputs_of(work: TaskContext, arm: Arm) -> list[Mapping[str, Any]]:
    """Those of the arm's sample tasks, in the order of the classes."""
    return [output for task in work.earlier[TaskKind.SAMPLE] if (output := output_of(task))["arm"] == arm]


def stored_as(artifact: Artifact) -> dict[str, Any]:
    """What a sample task says of its file, for `parts_of` to find and to check it."""
    return {"key": artifact.key, "sha256": artifact.sha256}


def parts_of(work: TaskContext, bench: WorkerContext, arm: Arm, tick: Tick) -> Iterator[Columns]:
    """The columns of each of the arm's sample tasks, in the order of the classes; one task's are in memory.

    `tick` is called after each part of a file. Raises SamplesDamaged, having looked at every file, if some of them are
    missing or have other bytes than were stored.
    """
    damaged: list[str] = []
    for output in outputs_of(work, arm):
        columns = _read(bench, output, work.scratch / "part.npz", tick)
        if columns is None:
            damaged.append(output["key"])
        elif not damaged:
            yield columns
    if damaged:
        raise SamplesDamaged(damaged)


def _read(bench: WorkerContext, output: Mapping[str, Any], copy: Path, tick: Tick) -> Columns | None:
    """None if the file is missing or damaged. Raises StorageUnavailable."""
    try:
        sha256 = _fetch(bench, output["key"], copy, tick)
        if sha256 != output.get("sha256", sha256):  # an earlier version's output lacks it
            return None
        with copy.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (ArtifactDamaged, ArtifactNotReady, *UNREADABLE):
        return None


def _next_chunk(stream: IO[bytes], key: str) -> bytes:
    """Raises ArtifactDamaged where the disk cannot read its own blocks; other errors may pass, or are of the copy."""
    try:
        return stream.read(CHUNK_BYTES)
    except OSError as error:
        if error.errno == errno.EIO:
            raise ArtifactDamaged(f"{key} cannot be read from its disk") from error
        raise


def _fetch(bench: WorkerContext, key: str, copy: Path, tick: Tick) -> str:
    """The SHA-256 of what was copied. Raises ArtifactDamaged, ArtifactNotReady, StorageUnavailable."""
    digest = hashlib.sha256()
    with bench.store.open(key) as stream, copy.open("wb") as file:
        while chunk := _next_chunk(stream, key):
            digest.update(chunk)
            file.write(chunk)
            tick()
    return digest.hexdigest()
