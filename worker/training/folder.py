"""The folder of a backbone in training.

It has a plain name, belongs to one process, and is never a finished backbone.
"""

import fcntl
import json
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from app.domain.errors import DatasetRejected, InvalidSpec
from app.domain.text import storable
from worker.training.checkpoint import CHECKPOINT
from worker.training.durable import reported_failures
from worker.training.model import INDEX

RECORD = "training"  # the sub-folder of samples and loss curve, which no loader reads


@contextmanager
def training_folder(root: Path, name: str) -> Generator[Path]:
    """The folder of a backbone yet to be trained, made if necessary and held while the block runs.

    An unfinished folder, with or without a checkpoint, is continued. Raises InvalidSpec if the name
    leads out of `root`, is taken by a finished backbone, or is being trained by another process.
    """
    folder = (root / name).resolve()
    if folder.parent != root.resolve() or name.startswith(".") or storable(name) != name:
        raise InvalidSpec.of("name", f"{name!r} is not a plain folder name")
    if is_finished(folder):
        raise InvalidSpec.of("name", f"there is a backbone {name!r} already in {folder}; remove it or choose another name")
    with reported_failures(folder):
        (folder / RECORD).mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _hold(descriptor, name)
        yield folder
    finally:
        os.close(descriptor)
        if [entry.name for entry in folder.iterdir()] == [RECORD]:  # the run was refused before its first step
            with suppress(OSError):
                (folder / RECORD).rmdir()
                folder.rmdir()


def is_finished(folder: Path) -> bool:
    """Whether the folder is a finished backbone.

    A truncated index beside a checkpoint does not make it one.
    """
    index = folder / INDEX
    if not (folder / CHECKPOINT).exists():
        return index.exists()
    try:
        return isinstance(json.loads(index.read_bytes()), dict)
    except (OSError, ValueError):
        return False


def refuse_escaped(classes: Sequence[str]) -> None:
    """Raises DatasetRejected for classes whose folders' names are not UTF-8.

    The backbone would know such classes by escaped names.
    """
    if classes:
        message = f"class names that are not UTF-8: {len(classes)} ({', '.join(classes[:5])}); rename these folders"
        raise DatasetRejected(f"{message}, for example with convmv")


def _hold(descriptor: int, name: str) -> None:
    """Lock the folder until the descriptor is closed, at the latest when this process ends."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InvalidSpec.of("name", f"{name!r} is being trained by another process; wait for it, or choose another") from error
