"""Cached listings of folders and files, valid while the folders and files are unchanged."""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from app.fingerprints import SETTLED_SECONDS, Fingerprint, fingerprint

MOST = 64
MOST_MARKS = 200_000  # of all entries together: about 50 MB

Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")
Mark = tuple[str, Fingerprint]


class FolderMemory(Generic[Key, Found]):
    """A cache of listings by key. Threads may share it.

    The fingerprint of a folder changes with the names in it. So a listing is valid while the
    fingerprints of all walked folders are unchanged: a thousand calls of `stat` replace a walk over
    a million files. A listing is not cached if a folder changed within SETTLED_SECONDS before it.
    """

    def __init__(self, look: Callable[[Key], tuple[Found, Sequence[str]]]) -> None:
        """`look(key)` returns the listing and every folder or file it depends on; may raise."""
        self._look = look
        self._lock = threading.Lock()
        self._known: OrderedDict[Key, tuple[Found, tuple[Mark, ...]]] = OrderedDict()

    def known(self, key: Key) -> tuple[Found] | None:
        """The cached listing in a tuple if it is still valid, else None."""
        with self._lock:
            known = self._known.get(key)
        if known is not None and all(_mark(mark[0]) == mark for mark in known[1]):
            return (known[0],)
        return None

    def look(self, key: Key) -> Found:
        """The current listing, cached or new."""
        known = self.known(key)  # another thread may have cached it meanwhile
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
    """The path and its fingerprint; None if it is missing or unreadable."""
    try:
        return path, fingerprint(os.stat(path))  # noqa: PTH116 - cheaper than a thousand Path objects
    except OSError:
        return None
