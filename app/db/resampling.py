"""Reruns sample tasks whose stored images are missing or damaged; tasks that need them wait."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import attempts
from app.db.tables import JobRow, TaskRow
from app.domain.job import Failure, FailureKind, JobState, Lease, Outcome, TaskKind, TaskState


def sample_again(session: Session, lease: Lease, keys: Collection[str]) -> bool:
    """Make the sample tasks that stored `keys` ready again.

    The lease's own task waits for them. Returns whether the job goes on. Each rerun counts as a
    failure of its sample task, whose job fails after `max_attempts`. It is no failure of the
    lease's task. A sample task that has stored other images since is left alone, because the
    lease's task read an outdated output and reads again. Raises LeaseLost.
    """
    job, task = attempts.hold(session, lease)
    if job.state == JobState.CANCELLING:
        attempts.release(session, job, task)
        return False
    attempts.end(session, task, Outcome.RELEASED)
    attempts.record(session, task, "task.released")
    task.state = TaskState.WAITING.value
    for sample in _stored(session, job, keys):
        if not _again(session, job, sample):
            return False
    attempts.promote(session, job.id, TaskKind.SAMPLE)
    return True


def _stored(session: Session, job: JobRow, keys: Collection[str]) -> list[TaskRow]:
    """The finished sample tasks of a locked job that stored one of `keys`, in order."""
    of_job = (TaskRow.job_id == job.id, TaskRow.kind == TaskKind.SAMPLE, TaskRow.state == TaskState.SUCCEEDED)
    found = session.scalars(select(TaskRow).where(*of_job).order_by(TaskRow.ordinal).with_for_update())
    return [task for task in found if (task.output or {}).get("key") in keys]


def _again(session: Session, job: JobRow, sample: TaskRow) -> bool:
    sample.output = None
    sample.warnings = None
    tries = f"after {sample.failures + 1} tries" if sample.failures else "once"
    failure = Failure(
        FailureKind.DEPENDENCY,
        f"the stored images of sample task {sample.ordinal} were found missing or damaged {tries}; check the artifact store",
    )
    return attempts.retry_or_fail(session, job, sample, failure, 0.0)
