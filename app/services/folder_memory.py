"""What was found in folders and files, for as long as they stay as they were."""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

MOST = 64
SETTLED_SECONDS = 2.0  # what changed within the clock tick of a file system cannot be told from what changes in it next

Classes = tuple[str, ...]
Look = Callable[[Path], tuple[Classes, Sequence[Path]]]
Mark = tuple[str, int, int, int, int]


class FolderMemory:
    """Classes by the folder or file that they were found in; safe to share between threads.

    A folder's own time changes with the names in it, so the times of all folders that were walked vouch for what they held:
    a thousand calls of `stat` instead of listing a million files. Nothing is kept that changed just before it was looked at.
    """

    def __init__(self, look: Look) -> None:
        """`look(path)`: what is there, and every folder or file whose change could change that; it may raise."""
        self._look = look
        self._lock = threading.Lock()
        self._known: OrderedDict[Path, tuple[Classes, tuple[Mark, ...]]] = OrderedDict()

    def classes(self, path: Path) -> Classes:
        """What `look` finds there now."""
        with self._lock:
            known = self._known.get(path)
        if known is not None and all(_mark(mark[0]) == mark for mark in known[1]):
            return known[0]
        before_ns = time.time_ns() - int(SETTLED_SECONDS * 1e9)
        classes, witnesses = self._look(path)
        marks = tuple(_mark(os.fspath(witness)) for witness in witnesses)
        with self._lock:
            self._known.pop(path, None)
            if all(mark is not None and mark[-1] < before_ns for mark in marks):
                self._known[path] = (classes, tuple(mark for mark in marks if mark is not None))
                while len(self._known) > MOST:
                    self._known.popitem(last=False)
        return classes


def _mark(path: str) -> Mark | None:
    """What changes when the file does, or the names in a folder; None if it is not there."""
    try:
        found = os.stat(path)  # noqa: PTH116 - cheaper than a thousand Path objects
    except OSError:
        return None
    return path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
