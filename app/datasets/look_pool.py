"""A small pool of threads that list datasets, so that a slow disk does not block other requests."""

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import BoundedSemaphore, Lock, Thread
from typing import Any, TypeVar

from app.domain.errors import TransientError

T = TypeVar("T")


class DatasetBusy(TransientError):
    """Too many datasets are being listed, or the disk of this one does not answer."""


class LookPool:
    """Runs at most `looking` looks at a time. At most `waiting` requests wait; others are refused.

    Simultaneous requests with the same key share one look.
    """

    def __init__(self, *, looking: int = 2, waiting: int = 12, patience_seconds: float = 10.0) -> None:
        self._turns = BoundedSemaphore(looking)
        self._places = BoundedSemaphore(looking + waiting)
        self._patience_seconds = patience_seconds
        self._lock = Lock()
        self._running: dict[Hashable, Future[Any]] = {}

    def run(self, key: Hashable, look: Callable[[], T]) -> T:
        """The result of `look`, or of a running look with the same key.

        Raises what `look` raises, and DatasetBusy if there is no free place or no answer in time.
        A stuck look keeps its thread. The thread is a daemon, so the process can still end.
        """
        if not self._places.acquire(blocking=False):
            raise DatasetBusy("too many datasets are being looked at; try again")
        try:
            answer = self._answer(key, look)
            try:
                return answer.result(self._patience_seconds)
            except TimeoutError as error:
                if answer.done():  # the look itself raised TimeoutError
                    raise
                raise DatasetBusy("the disk with the dataset does not answer; try again") from error
        finally:
            self._places.release()

    def _answer(self, key: Hashable, look: Callable[[], T]) -> "Future[T]":
        with self._lock:
            running = self._running.get(key)
        if running is not None:
            return running
        if not self._turns.acquire(timeout=self._patience_seconds):
            raise DatasetBusy("other datasets are being looked at; try again")
        with self._lock:
            running = self._running.setdefault(key, Future())
            if running.running():  # it started while this request waited
                self._turns.release()
                return running
            running.set_running_or_notify_cancel()
        try:
            Thread(target=self._work, args=(key, look, running), name="dataset-look", daemon=True).start()
        except RuntimeError as error:  # the system cannot start another thread
            self._end(key)
            running.set_exception(DatasetBusy(f"there is no thread to look at the dataset ({error}); try again"))
        return running

    def _work(self, key: Hashable, look: Callable[[], T], answer: "Future[T]") -> None:
        try:
            found = look()
        except BaseException as error:  # noqa: BLE001 - it is raised again in the threads that asked
            self._end(key)
            answer.set_exception(error)
        else:
            self._end(key)
            answer.set_result(found)

    def _end(self, key: Hashable) -> None:
        with self._lock:
            del self._running[key]
        self._turns.release()
