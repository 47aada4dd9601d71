"""Folders for the files of a running task.

If a process is killed, other processes remove its folders.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

GRACE_SECONDS = 60.0  # longer than any process needs between making its folder and locking it


@contextmanager
def scratch_folder(root: Path) -> Generator[Path]:
    """An empty folder below `root` that is removed afterwards.

    A lock holds the folder. The lock ends with this process.
    """
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root) as name:
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(descriptor)


def remove_abandoned(root: Path, grace_seconds: float = GRACE_SECONDS) -> int:
    """Remove the folders below `root` that no process holds any more; return their number."""
    removed = 0
    for folder in root.iterdir() if root.is_dir() else ():
        with suppress(OSError):  # the folder has just gone, or its holder lives
            removed += _remove_if_free(folder, grace_seconds)
    return removed


def _remove_if_free(folder: Path, grace_seconds: float) -> bool:
    """Whether the folder was free and is now removed. Raises OSError if a process holds it."""
    if time.time() - folder.stat().st_mtime < grace_seconds:
        return False
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    finally:
        os.close(descriptor)
    return True
