"""Record how an attempt at a task ended: its result, or its failure.

Every write is guarded by the lease.
"""

import time
from collections.abc import Sequence

import structlog
from sqlalchemy.orm import Session

from app.db import leases, resampling
from app.db.session import Database
from app.domain.errors import Cancelled, DappleError, DatabaseUnavailable, LeaseLost, SamplesDamaged, TransientError
from app.domain.job import Lease, Outcome, Task
from app.settings import Settings
from worker.service.failure_policy import UNRECORDED, decide
from worker.service.lease_heartbeat import ShuttingDown
from worker.stages.context import StageResult

FINISH_AGAIN_SECONDS = 0.5

log = structlog.get_logger()


class AttemptRecorder:
    """Writes the end of attempts into the database."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    def publish(self, lease: Lease, result: StageResult) -> Sequence[Task]:
        """Store the result of a task; returns the tasks that became ready.

        While the lease may last, a restart of the database does not cost the result: the write is
        tried again. Raises LeaseLost, also if an earlier try was committed and only its answer was
        lost.
        """
        deadline = time.monotonic() + self._settings.lease_seconds
        while True:
            try:
                with self._database.transaction() as session:
                    return _publish(session, lease, result)
            except DatabaseUnavailable as error:
                if time.monotonic() >= deadline:
                    raise
                log.warning("task.not_finished_yet", reason=error.reason)
            time.sleep(FINISH_AGAIN_SECONDS)

    def record_error(self, lease: Lease, error: Exception) -> Outcome:
        """Store how an attempt ended that raised `error`. Raises LeaseLost or TransientError.

        If the database refuses the failure as it is, a general one is recorded in its place.
        """
        try:
            with self._database.transaction() as session:
                return self._record(session, lease, error)
        except (LeaseLost, TransientError):
            raise
        except Exception:
            log.exception("task.failure_not_recorded", failure=type(error).__name__)
        with self._database.transaction() as session:
            leases.fail(session, lease, UNRECORDED, backoff_seconds=None)
        return Outcome.FAILED

    def _record(self, session: Session, lease: Lease, error: Exception) -> Outcome:
        match error:
            case ShuttingDown():
                log.info("task.released")
                leases.release(session, lease)
                return Outcome.RELEASED
            case Cancelled():
                log.info("task.cancelled")
                leases.cancelled(session, lease)
                return Outcome.CANCELLED
            case SamplesDamaged():
                log.warning("task.samples_damaged", keys=error.keys)
                resampling.sample_again(session, lease, error.keys)
                return Outcome.RELEASED
            case _:
                self._record_failure(session, lease, error)
                return Outcome.FAILED

    def _record_failure(self, session: Session, lease: Lease, error: Exception) -> None:
        decision = decide(error, self._settings)
        failure, again = decision.failure, decision.backoff_seconds is not None
        unforeseen = None if isinstance(error, DappleError) else error
        log.warning("task.failed", kind=failure.kind.value, reason=failure.message, again=again, exc_info=unforeseen)
        leases.fail(session, lease, failure, backoff_seconds=decision.backoff_seconds)


def _publish(session: Session, lease: Lease, result: StageResult) -> Sequence[Task]:
    if result.publication is None:
        return leases.finish(session, lease, result.output.json, then=result.then, warnings=result.warnings)
    published = result.publication
    leases.complete(
        session,
        lease,
        result.output.json,
        archive=published.archive,
        preview=published.preview,
        metrics=published.metrics,
        warnings=result.warnings,
    )
    return ()
