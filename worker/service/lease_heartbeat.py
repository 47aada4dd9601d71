"""Hold a task while it runs: renew its lease, report its progress, learn that it must stop, notice that it is stuck."""

import contextvars
import math
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog

from app.db import tasks
from app.db.session import Database
from app.domain.errors import Cancelled, DappleError, DatabaseUnavailable, LeaseLost, TimedOut
from app.domain.job import Lease, Progress
from app.settings import Settings

LOOK_SECONDS = 0.01  # quicker steps than this share one look at the database
SILENCE_SECONDS = 0.5  # between two tries of ticks while it does not answer

log = structlog.get_logger()


class ShuttingDown(DappleError):
    """This process was asked to stop; the task goes back unharmed."""


class LeaseHeartbeat:
    """Keeps a lease alive from a thread while the block runs.

    The stage calls `tick` at every step: it writes progress a few times a second, and it raises Cancelled, LeaseLost or
    ShuttingDown when the task must stop, or TimedOut after `task_seconds`. A holder that cannot renew for as long as the
    lease lasts counts it as lost.

    A stage that does not call `tick` for `stall_seconds` is stuck: the lease is renewed no more, and `on_stuck` is called in
    the heartbeat's thread, as the stage's own cannot be stopped. Where the job was cancelled, it ends after `cancel_seconds`
    without an answer of the stage, which then finds its lease lost.
    """

    def __init__(
        self,
        database: Database,
        lease: Lease,
        settings: Settings,
        stopping: threading.Event,
        *,
        worker: str,
        on_stuck: Callable[[TimedOut], None],
    ) -> None:
        self._database = database
        self._lease = lease
        self._settings = settings
        self._stopping = stopping
        self._worker = worker
        self._on_stuck = on_stuck
        self._stall_seconds = settings.stall_seconds[lease.task.kind]
        self._task_seconds = settings.task_seconds[lease.task.kind]
        self._started_at = self._ticked_at = time.monotonic()
        self._cancelled_at: float | None = None
        self._ended = threading.Event()
        within = contextvars.copy_context()  # its log lines have the task's ids too
        self._thread = threading.Thread(target=within.run, args=(self._beat,), name=f"heartbeat-{lease.task.id}", daemon=True)
        self._must_stop: DappleError | None = None
        self._renewed_at = time.monotonic()
        self._silent_until = -math.inf  # after a database that did not answer
        self._looked_at = -math.inf  # the first tick always looks
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def tick(self, done: int, total: int) -> None:
        """Report `done` of `total` units. Raises Cancelled, LeaseLost, ShuttingDown or TimedOut when the task must stop."""
        self._ticked_at = time.monotonic()
        if self._stopping.is_set():
            raise ShuttingDown("the worker is shutting down")
        if self._ticked_at - self._started_at >= self._task_seconds:
            raise self._timed_out(f"did not end within {self._task_seconds:g} s")
        self._progress = Progress(done, total)
        if time.monotonic() >= self._silent_until:
            self._renew_or_look()
        if self._must_stop is not None:
            raise self._must_stop

    def _renew_or_look(self) -> None:
        if time.monotonic() - self._renewed_at >= self._settings.progress_seconds:
            self._renew()
        elif time.monotonic() - self._looked_at >= LOOK_SECONDS:
            self._look()

    def _beat(self) -> None:
        while not self._ended.wait(min(self._settings.heartbeat_seconds, self._stall_seconds)):
            if time.monotonic() - self._ticked_at >= self._stall_seconds:
                self._on_stuck(self._timed_out(f"made no progress for {self._stall_seconds:g} s"))
                return
            self._renew()
            if self._cancelled_at is not None and time.monotonic() - self._cancelled_at >= self._settings.cancel_seconds:
                self._end_cancelled()

    def _timed_out(self, what: str) -> TimedOut:
        return TimedOut(f"{self._lease.task.kind} task {self._lease.task.ordinal} {what} on worker {self._worker}")

    def _end_cancelled(self) -> None:
        """End the cancelled task without its stage: the user need not wait for a step that takes minutes, or never ends."""
        try:
            with self._database.transaction() as session:
                tasks.cancelled(session, self._lease)
            log.warning("task.cancelled_without_answer", seconds=self._settings.cancel_seconds)
        except LeaseLost as error:
            self._must_stop = error
        except DatabaseUnavailable as error:
            self._give_up_in_time(error)
        else:
            self._cancelled_at = None

    def _renew(self) -> None:
        """Extend the lease; on the heartbeat's thread nothing may be raised, so the verdict is kept for the next tick."""
        try:
            with self._database.transaction() as session:
                cancel = tasks.renew(session, self._lease, self._settings.lease_seconds, self._progress)
            self._renewed_at = time.monotonic()
            self._note(cancel)
        except LeaseLost as error:
            self._must_stop = error
        except DatabaseUnavailable as error:
            self._give_up_in_time(error)

    def _look(self) -> None:
        self._looked_at = time.monotonic()
        try:
            with self._database.reading() as session:
                self._note(tasks.cancel_requested(session, self._lease))
        except LeaseLost as error:
            self._must_stop = error
        except DatabaseUnavailable as error:
            self._give_up_in_time(error)

    def _note(self, cancel: bool) -> None:
        if cancel:
            self._cancelled_at = self._cancelled_at or time.monotonic()
            self._must_stop = Cancelled(f"job {self._lease.task.job_id} was asked to stop")

    def _give_up_in_time(self, error: DatabaseUnavailable) -> None:
        log.warning("lease.not_renewed", reason=error.reason)
        self._silent_until = time.monotonic() + SILENCE_SECONDS
        if time.monotonic() - self._renewed_at >= self._settings.lease_seconds:
            self._must_stop = LeaseLost("the lease could not be renewed in time")
