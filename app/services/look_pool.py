"""A few threads for looking at data sets, so that a slow disk or a huge folder holds up nothing else."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import BoundedSemaphore, Thread
from typing import TypeVar

from app.domain.errors import TransientError

T = TypeVar("T")


class DatasetBusy(TransientError):
    """The data set cannot be looked at now: too many others are, or its disk does not answer."""


class LookPool:
    """Runs `looking` looks at a time; as many as `waiting` may wait for their turn, others are refused at once."""

    def __init__(self, *, looking: int = 4, waiting: int = 12, patience_seconds: float = 10.0) -> None:
        self._turns = BoundedSemaphore(looking)
        self._places = BoundedSemaphore(looking + waiting)
        self._patience_seconds = patience_seconds

    def run(self, look: Callable[[], T]) -> T:
        """What `look` returns or raises. Raises DatasetBusy if there is no place, or no answer in time.

        A look that is stuck keeps its thread, which is a daemon: the process can end without it.
        """
        if not self._places.acquire(blocking=False):
            raise DatasetBusy("too many data sets are being looked at; try again")
        try:
            if not self._turns.acquire(timeout=self._patience_seconds):
                raise DatasetBusy("other data sets are being looked at; try again")
            answer: Future[T] = Future()
            Thread(target=self._work, args=(look, answer), name="dataset-look", daemon=True).start()
            try:
                return answer.result(self._patience_seconds)
            except TimeoutError as error:
                if answer.done():  # the look's own
                    raise
                raise DatasetBusy("the disk with the data set does not answer; try again") from error
        finally:
            self._places.release()

    def _work(self, look: Callable[[], T], answer: "Future[T]") -> None:
        try:
            answer.set_result(look())
        except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that asked
            answer.set_exception(error)
        finally:
            self._turns.release()
