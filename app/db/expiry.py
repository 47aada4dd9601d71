"""Leases and jobs that ran out of time, and the tasks of workers that are known to be gone."""

from collections.abc import Iterator

from sqlalchemy import ColumnElement, literal_column, select
from sqlalchemy.orm import Session

from app.db import attempts, jobs
from app.db.session import now
from app.db.tables import JobRow, TaskRow
from app.domain.job import Failure, FailureKind, JobState


def expire(session: Session, backoff_seconds: float) -> int:
    """End the leases and jobs that have run out of time; return how many there were.

    An expired lease counts as a crash: the task is retried after `backoff_seconds`, doubled for
    each earlier failure, or the job fails with a message that names its attempts. A job still
    queued at its deadline becomes `expired`. A job that runs for longer than its time limit fails.

    A job that another transaction has locked is left to the next call, because a process that was
    stopped in the middle of a transaction must not keep the tasks of others from expiring.
    """
    lapsed = _expire_leases(session, backoff_seconds, TaskRow.lease_expires_at < now(), skip_locked=True)
    return lapsed + _expire_queued(session) + _fail_overdue(session)


def expire_worker(session: Session, worker_prefix: str, backoff_seconds: float = 0.0) -> int:
    """End the leases of workers whose names start with the prefix; return how many there were.

    Each counts as a crash: these workers died, or could not record how a task ended.
    """
    return _expire_leases(session, backoff_seconds, _named(worker_prefix), skip_locked=False)


def release_worker(session: Session, worker_prefix: str) -> int:
    """Take tasks back from workers whose names start with the prefix; return how many there were.

    These workers were stopped from outside, or lost the database. This is no fault of the tasks, so
    it counts as no failure.
    """
    taken = 0
    for job, task in _running(session, _named(worker_prefix), skip_locked=False):
        attempts.release(session, job, task)
        taken += 1
    return taken


def _named(worker_prefix: str) -> ColumnElement[bool]:
    return TaskRow.worker.startswith(worker_prefix, autoescape=True)


def _expire_leases(session: Session, backoff_seconds: float, which: ColumnElement[bool], *, skip_locked: bool) -> int:
    ended = 0
    for job, task in _running(session, which, skip_locked=skip_locked):
        attempts.expire(session, job, task, backoff_seconds)
        ended += 1
    return ended


def _running(session: Session, which: ColumnElement[bool], *, skip_locked: bool) -> Iterator[tuple[JobRow, TaskRow]]:
    """The rows of these running tasks and of their jobs, locked, looked up one at a time.

    The caller's action on one task may end another task of the same job. The tasks come in the
    order of their jobs, whose rows are locked one after another: two transactions that do this at
    once may wait, but never for each other.
    """
    running = TaskRow.state == literal_column("'running'")
    query = select(TaskRow.id, TaskRow.token).where(running, which).order_by(TaskRow.job_id, TaskRow.id)
    for task_id, token in session.execute(query).all():
        held = attempts.still_running(session, task_id, token, skip_locked=skip_locked)
        if held is not None:
            yield held


def _expire_queued(session: Session) -> int:
    late = select(JobRow).where(JobRow.state == JobState.QUEUED, JobRow.deadline_at <= now())
    found = session.scalars(late.with_for_update(skip_locked=True)).all()
    for job in found:
        jobs.cancel_unstarted(session, job.id)
        jobs.move(session, job, JobState.EXPIRED, Failure(FailureKind.TIMEOUT, "no worker was free before the deadline"))
    return len(found)


def _fail_overdue(session: Session) -> int:
    """Fail the jobs that exceeded their time limits; return how many there were.

    The jobs are locked in the order of their ids.
    """
    late = select(JobRow).where(JobRow.state == JobState.RUNNING, JobRow.must_end_at <= now()).order_by(JobRow.id)
    found = session.scalars(late.with_for_update(skip_locked=True)).all()
    for job in found:
        limit = job.spec["time_limit_seconds"]
        attempts.fail_job(session, job, Failure(FailureKind.TIMEOUT, f"the job did not end within its limit of {limit:g} s"))
    return len(found)
