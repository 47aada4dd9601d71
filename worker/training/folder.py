"""The folder of a backbone in training: a plain name, one process, never a finished backbone."""

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

RECORD = "training"  # samples and loss curve, in a sub-folder that no loader looks into


@contextmanager
def training_folder(root: Path, name: str) -> Generator[Path]:
    """The folder of a backbone yet to be trained, made if need be, held while the block runs.

    An unfinished one, with or without a checkpoint, is taken up again. Raises InvalidSpec if the
    name leaves `root`, is taken by a finished backbone, or is being trained by another process.
    """
    folder = (root / name).resolve()
    if folder.parent != root.resolve() or name.startswith(".") or storable(name) != name:
        raise InvalidSpec.of("name", f"{name!r} is no plain folder name")
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
        if [entry.name for entry in folder.iterdir()] == [RECORD]:  # refused before the first step
            with suppress(OSError):
                (folder / RECORD).rmdir()
                folder.rmdir()


def is_finished(folder: Path) -> bool:
    """Whether the folder is a backbone; an index that was cut short beside a checkpoint makes none."""
    index = folder / INDEX
    if not (folder / CHECKPOINT).exists():
        return index.exists()
    try:
        return isinstance(json.loads(index.read_bytes()), dict)
    except (OSError, ValueError):
        return False


def refuse_escaped(classes: Sequence[str]) -> None:
    """Raises DatasetRejected for classes whose folders' names are not UTF-8: the backbone would
    know them by escapes.
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
