"""The lease heartbeat: it keeps the lease of a running task, stores its progress, and says when the
task must stop.
"""

import contextvars
import math
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog

from app.db import leases
from app.db.session import Database
from app.domain.errors import Cancelled, DappleError, DatabaseUnavailable, LeaseLost, TimedOut
from app.domain.job import Lease, Progress
from app.settings import Settings

ASK_SECONDS = 0.01  # steps that are quicker share one query
SILENCE_SECONDS = 0.5  # between two tries while the database does not answer

log = structlog.get_logger()


class ShuttingDown(DappleError):
    """This process was asked to stop. The task is released and counts no attempt."""


class LeaseHeartbeat:
    """Renews a lease from a thread while the block runs.

    The stage calls `report` at every step. This stores progress a few times a second. It raises
    Cancelled, LeaseLost or ShuttingDown when the task must stop, and TimedOut after `task_seconds`.
    If the lease cannot be renewed for as long as it lasts, it counts as lost.

    A stage that does not call `report` for `stall_seconds` is stuck. The lease is no longer
    renewed, and `on_stuck` is called in the thread of the heartbeat, because the thread of the
    stage cannot be stopped. If the job was cancelled, the task ends after `cancel_seconds` without
    an answer of the stage, which then finds its lease lost.
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
        self._started_at = self._reported_at = time.monotonic()
        self._cancelled_at: float | None = None
        self._ended = threading.Event()
        within = contextvars.copy_context()  # so that its log lines have the ids of the task
        self._thread = threading.Thread(target=within.run, args=(self._beat,), name=f"heartbeat-{lease.task.id}", daemon=True)
        self._must_stop: DappleError | None = None
        self._renewed_at = time.monotonic()
        self._silent_until = -math.inf  # set when the database does not answer
        self._asked_at = -math.inf  # the first report always asks
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def report(self, done: int, total: int) -> None:
        """`done` of `total` units are done.

        Raises Cancelled, LeaseLost, ShuttingDown or TimedOut when the task must stop.
        """
        self._reported_at = time.monotonic()
        if self._stopping.is_set():
            raise ShuttingDown("the worker is shutting down")
        if self._reported_at - self._started_at >= self._task_seconds:
            raise self._timed_out(f"did not end within {self._task_seconds:g} s")
        self._progress = Progress(done, total)
        if time.monotonic() >= self._silent_until:
            self._renew_or_ask()
        if self._must_stop is not None:
            raise self._must_stop

    def _renew_or_ask(self) -> None:
        if time.monotonic() - self._renewed_at >= self._settings.progress_seconds:
            self._renew()
        elif time.monotonic() - self._asked_at >= ASK_SECONDS:
            self._ask()

    def _beat(self) -> None:
        while not self._ended.wait(min(self._settings.heartbeat_seconds, self._stall_seconds)):
            if time.monotonic() - self._reported_at >= self._stall_seconds:
                self._on_stuck(self._timed_out(f"made no progress for {self._stall_seconds:g} s"))
                return
            self._renew()
            if self._cancelled_at is not None and time.monotonic() - self._cancelled_at >= self._settings.cancel_seconds:
                self._end_cancelled()

    def _timed_out(self, what: str) -> TimedOut:
        return TimedOut(f"{self._lease.task.kind} task {self._lease.task.ordinal} {what} on worker {self._worker}")

    def _end_cancelled(self) -> None:
        """End the cancelled task without its stage, so that the user need not wait for a step that
        takes minutes or never ends.
        """
        try:
            with self._database.transaction() as session:
                leases.cancelled(session, self._lease)
            log.warning("task.cancelled_without_answer", seconds=self._settings.cancel_seconds)
        except LeaseLost as error:
            self._must_stop = error
        except DatabaseUnavailable as error:
            self._give_up_in_time(error)
        else:
            self._cancelled_at = None

    def _renew(self) -> None:
        """Extend the lease.

        The thread of the heartbeat may raise nothing, so what it finds is kept for the next report.
        """
        try:
            with self._database.transaction() as session:
                cancel = leases.renew(session, self._lease, self._settings.lease_seconds, self._progress)
            self._renewed_at = time.monotonic()
            self._note(cancel)
        except LeaseLost as error:
            self._must_stop = error
        except DatabaseUnavailable as error:
            self._give_up_in_time(error)

    def _ask(self) -> None:
        self._asked_at = time.monotonic()
        try:
            with self._database.reading() as session:
                self._note(leases.cancel_requested(session, self._lease))
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
