"""What was found in folders and files, for as long as they stay as they were."""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from app.fingerprints import SETTLED_SECONDS, Fingerprint, fingerprint

MOST = 64
MOST_MARKS = 200_000  # of all that is remembered together: some 50 MB

Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")
Mark = tuple[str, Fingerprint]


class FolderMemory(Generic[Key, Found]):
    """What a look found, by what was looked at; safe to share between threads.

    A folder's own time changes with the names in it, so the times of all folders that were walked vouch for what they held:
    a thousand calls of `stat` instead of listing a million files. Nothing is kept that changed just before it was looked at.
    """

    def __init__(self, look: Callable[[Key], tuple[Found, Sequence[str]]]) -> None:
        """`look(key)`: what is there, and every folder or file whose change could change that; it may raise."""
        self._look = look
        self._lock = threading.Lock()
        self._known: OrderedDict[Key, tuple[Found, tuple[Mark, ...]]] = OrderedDict()

    def known(self, key: Key) -> tuple[Found] | None:
        """What an earlier look found, if all is still as it was."""
        with self._lock:
            known = self._known.get(key)
        if known is not None and all(_mark(mark[0]) == mark for mark in known[1]):
            return (known[0],)
        return None

    def look(self, key: Key) -> Found:
        """What is there now."""
        known = self.known(key)  # another thread may have looked while this one waited
        if known is not None:
            return known[0]
        before_ns = time.time_ns() - int(SETTLED_SECONDS * 1e9)
        found, witnesses = self._look(key)
        marks = tuple(_mark(witness) for witness in witnesses)
        with self._lock:
            self._known.pop(key, None)
            if all(mark is not None and mark[1].mtime_ns < before_ns for mark in marks):
                self._known[key] = (found, tuple(mark for mark in marks if mark is not None))
                self._forget_the_oldest()
        return found

    def _forget_the_oldest(self) -> None:
        marks = sum(len(marks) for _, marks in self._known.values())
        while len(self._known) > MOST or marks > MOST_MARKS:
            _, (_, forgotten) = self._known.popitem(last=False)
            marks -= len(forgotten)


def _mark(path: str) -> Mark | None:
    """The path and its fingerprint; None if it is not there."""
    try:
        return path, fingerprint(os.stat(path))  # noqa: PTH116 - cheaper than a thousand Path objects
    except OSError:
        return None
