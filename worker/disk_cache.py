"""A cache of folders on disk, by key, shared by many processes and kept between jobs."""

import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import structlog
from filelock import FileLock, Timeout

from worker.progress import Heartbeat

POLL_SECONDS = 0.1  # between two tries of a lock that another process holds
BEAT_SECONDS = 1.0  # between two heartbeats of a lock's holder
LIFELESS_SECONDS = 10.0  # without a heartbeat, other processes stop waiting
KEPT_SECONDS = 7 * 86400.0  # a scan of 1,000 classes may take days
STRIPES = 256  # number of lock files; keys share them by hash

DAMAGE = (OSError, EOFError, KeyError, ValueError)  # errors from reading a damaged entry

Make = Callable[[Path], None]
Opened = TypeVar("Opened")

log = structlog.get_logger()


class DiskCache:
    """A cache of folders below `root`. Each entry is made once, atomically, and never changed.

    Keys with the same text before a `-` form a scan: entries that jobs need one after another, in
    the same order each time. If a scan is larger than the cache, its least recently used entries
    are the next ones needed. So a newer entry of the same scan does not evict an entry that was
    used within KEPT_SECONDS; instead the newer one is removed as soon as it has been opened.

    After each new entry, the least recently used ones are evicted until the total is at most
    `limit_bytes`; the new one stays even if it alone is larger. `hits` and `misses` count the
    entries that this process found and made. Every method may raise OSError, for a full disk or a
    read-only folder; callers then do without the cache.
    """

    def __init__(self, root: Path, limit_bytes: int) -> None:
        self._entries = root / "entries"
        self._unfinished = root / "unfinished"
        self._locks = root / "locks"
        self._beats = root / "beats"
        self._limit_bytes = limit_bytes
        self.hits = 0
        self.misses = 0

    def get(self, key: str, make: Make, heartbeat: Heartbeat) -> Path:
        """The folder of the entry, found or made as by `read`.

        It may be evicted before it is opened; `read` is safe.
        """
        return self.read(key, make, lambda folder: folder, heartbeat)

    def read(self, key: str, make: Make, opened: Callable[[Path], Opened], heartbeat: Heartbeat) -> Opened:
        """The result of `opened(folder)` for the entry; `make(folder)` fills the folder of a new
        one.

        One process makes an entry; the others wait and call `heartbeat`, which may raise. A killed
        maker leaves no entry. `opened` raises one of DAMAGE if the entry is damaged or evicted
        meanwhile; such an entry is dropped and made again. Files that it opened or mapped stay
        valid after an eviction. `make` must not use this cache, because two keys may share a lock.
        """
        entry = self._path(key)
        if entry.is_dir():
            with suppress(*DAMAGE):
                found = _use(entry, opened)
                self.hits += 1
                return found
        with self._locked(key, heartbeat):
            found, was_made = self._under_lock(entry, make, opened)
        if was_made:
            self.misses += 1
            self._tidy(entry)
        else:
            self.hits += 1
        return found

    def _under_lock(self, entry: Path, make: Make, opened: Callable[[Path], Opened]) -> tuple[Opened, bool]:
        """The opened entry, and whether it was made. Opens it under its lock, so that no process
        can evict it before.
        """
        if entry.is_dir():
            try:
                return _use(entry, opened), False
            except DAMAGE as error:
                log.warning("cache.damaged", key=entry.name, reason=str(error))
                self._drop(entry)
        self._make(entry, make)
        return _use(entry, opened), True

    def _make(self, entry: Path, make: Make) -> None:
        folder = self._unfinished / entry.name
        shutil.rmtree(folder, ignore_errors=True)  # left by a killed maker: this process holds its lock
        folder.mkdir(parents=True)
        try:
            make(folder)
            for path in (*_files(folder), folder):
                _sync(path)
            self._entries.mkdir(exist_ok=True)
            folder.rename(entry)
            _sync(self._entries)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _tidy(self, newest: Path) -> None:
        try:
            self._make_room(newest)
            self._sweep()
        except OSError as error:  # the entry exists; the next call tries again
            log.warning("cache.untidy", reason=str(error))

    def _make_room(self, newest: Path) -> None:
        """Drop the least recently used entries until the rest is within the limit, except `newest`
        and locked ones.

        Entries of the scan of `newest` stay; if they leave no room, `newest` itself is dropped. If
        they alone exceed the limit, for example because it was lowered, the most recently used of
        them are dropped: the next scan needs the others first.
        """
        used_at = _by_last_use(self._entries)
        kept = _kept_of_scan(used_at, newest)
        staying = {newest, *kept}
        leaving = [entry for entry in used_at if entry not in staying]
        sizes = {entry: _size_bytes(entry) for entry in used_at}
        excess = sum(sizes.values()) - self._limit_bytes
        for entry in (*leaving, newest, *kept) if kept else leaving:
            if excess <= 0:
                return
            if self._if_free(entry.name, self._drop, entry):
                excess -= sizes.get(entry, 0)

    def _sweep(self) -> None:
        """Remove the incomplete folders that killed processes left."""
        for folder in self._unfinished.iterdir():
            self._if_free(folder.name, shutil.rmtree, folder, True)

    def _drop(self, entry: Path) -> None:
        """Remove an entry under its lock: first atomically from the cache, then from the disk."""
        gone = self._unfinished / entry.name
        self._unfinished.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(gone, ignore_errors=True)
        with suppress(FileNotFoundError):  # another process evicted it meanwhile
            entry.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def _if_free(self, key: str, act: Callable[..., None], *arguments: object) -> bool:
        """Call `act` under the key's lock if that is free; return whether it was."""
        try:
            with FileLock(self._lock_path(key), timeout=0):
                act(*arguments)
        except Timeout:
            return False
        return True

    @contextmanager
    def _locked(self, key: str, heartbeat: Heartbeat) -> Generator[None]:
        """Hold the key's lock, which ends with the process. Calls `heartbeat` while it waits.

        Raises TimeoutError, an OSError, if the holder sends no heartbeat, for example because it
        was suspended.
        """
        self._locks.mkdir(parents=True, exist_ok=True)
        self._beats.mkdir(exist_ok=True)
        lock = FileLock(self._lock_path(key), timeout=0)
        beats = self._beats / self._lock_path(key).name  # not the lock file: each try of the lock touches that
        seen, seen_at = 0, time.monotonic()
        while not _acquired(lock):
            heartbeat()
            if (beat := _touched_at(beats)) != seen:
                seen, seen_at = beat, time.monotonic()
            elif time.monotonic() - seen_at >= LIFELESS_SECONDS:
                raise TimeoutError(f"the process that makes {key} shows no progress")
            time.sleep(POLL_SECONDS)
        try:
            with _showing_life(beats):
                yield
        finally:
            lock.release()

    def _lock_path(self, key: str) -> Path:
        return self._locks / f"{int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) % STRIPES:03d}.lock"

    def _path(self, key: str) -> Path:
        if not re.fullmatch(r"[0-9A-Za-z_-]{1,200}", key):
            raise ValueError(f"not a key: {key!r}")
        return self._entries / key


def _use(entry: Path, opened: Callable[[Path], Opened]) -> Opened:
    """Open the entry and mark it as used."""
    with suppress(OSError):  # a read-only cache still works
        now = time.time_ns()  # finer than the clock of the file system
        os.utime(entry, ns=(now, now))
    return opened(entry)


@contextmanager
def _showing_life(path: Path) -> Generator[None]:
    """Touch the file periodically from a thread, which pauses if the process is suspended."""
    ended = threading.Event()

    def touch() -> None:
        while not ended.wait(BEAT_SECONDS):
            with suppress(OSError):
                path.touch()

    thread = threading.Thread(target=touch, name="cache-lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _touched_at(path: Path) -> int:
    """The mtime in ns by the file system's clock; 0 if the file is missing."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _acquired(lock: FileLock) -> bool:
    try:
        lock.acquire()
    except Timeout:
        return False
    return True


def _by_last_use(entries: Path) -> dict[Path, float]:
    """The time of each entry's last use, in seconds since the epoch, least recent first. Skips
    entries that vanish.
    """
    used_at: dict[Path, float] = {}
    for entry in entries.iterdir():
        with suppress(FileNotFoundError):
            used_at[entry] = entry.stat().st_mtime_ns / 1e9
    return dict(sorted(used_at.items(), key=lambda item: item[1]))


def _kept_of_scan(used_at: Mapping[Path, float], newest: Path) -> list[Path]:
    """The other entries of the newest one's scan that were used within KEPT_SECONDS, most recent
    first.
    """
    scan, dash, _ = newest.name.partition("-")
    since = time.time() - KEPT_SECONDS
    kept = [
        entry
        for entry, at in used_at.items()
        if dash and entry != newest and entry.name.startswith(scan + dash) and at >= since
    ]
    return kept[::-1]


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _size_bytes(folder: Path) -> int:
    total = 0
    with suppress(FileNotFoundError):  # evicted during the count
        for file in _files(folder):
            total += file.stat().st_size
    return total


def _sync(path: Path) -> None:
    """Flush a file's bytes, or a folder's names, to disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
