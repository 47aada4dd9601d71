"""Folders for files of a running task; those of processes that were killed are removed by others."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

GRACE_SECONDS = 60.0  # more than any process needs between making its folder and holding it


@contextmanager
def scratch_folder(root: Path) -> Generator[Path]:
    """An empty folder below `root` that vanishes afterwards; held by a lock that dies with this
    process.
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
    """How many folders below `root` were removed because nobody holds them any more."""
    removed = 0
    for folder in root.iterdir() if root.is_dir() else ():
        with suppress(OSError):  # it has just gone, or its holder lives
            removed += _remove_if_free(folder, grace_seconds)
    return removed


def _remove_if_free(folder: Path, grace_seconds: float) -> bool:
    """Raises OSError where somebody holds it."""
    if time.time() - folder.stat().st_mtime < grace_seconds:
        return False
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    finally:
        os.close(descriptor)
    return True
