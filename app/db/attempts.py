"""The start and end of an attempt, and their effects on its task and its job.

Only `leases`, `expiry` and `resampling` call this.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, literal_column, select, update
from sqlalchemy.orm import Session

from app.db import events, jobs, totals
from app.db.rows import from_warnings
from app.db.session import now
from app.db.tables import AttemptRow, JobRow, TaskRow
from app.domain.errors import JobNotFound, LeaseLost
from app.domain.job import Failure, FailureKind, JobState, JobWarning, Lease, Outcome, TaskKind, TaskState

UNFETCHED = {"synchronize_session": False}


def under(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    """The conditions that guard every write under a lease."""
    return (TaskRow.id == lease.task.id, TaskRow.token == lease.token, TaskRow.state == TaskState.RUNNING)


def lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"{lease.task.kind} task {lease.task.ordinal} of job {lease.task.job_id} is no longer held")


def hold(session: Session, lease: Lease) -> tuple[JobRow, TaskRow]:
    """The job's and the task's rows, locked until the transaction ends. Raises LeaseLost."""
    try:
        job = jobs.lock(session, lease.task.job_id)
    except JobNotFound as error:
        raise lost(lease) from error
    task = session.scalars(select(TaskRow).where(*under(lease)).with_for_update()).one_or_none()
    if task is None:
        raise lost(lease)
    return job, task


def begin(session: Session, job: JobRow, task: TaskRow, worker: str) -> None:
    """Record the start of the attempt that a claim has just made possible."""
    session.add(AttemptRow(task_id=task.id, number=task.attempt, worker=worker, started_at=now()))
    phase = TaskKind(task.kind).phase
    if job.state == JobState.QUEUED:
        jobs.move(session, job, JobState.RUNNING)
    if job.phase != phase:
        job.phase = phase.value
        job.version += 1
        events.append(session, job.id, "job.phase", {"phase": phase.value})
    record(session, task, "task.started", {"worker": worker})


def succeed(
    session: Session, job: JobRow, task: TaskRow, output: Mapping[str, Any], warnings: Sequence[JobWarning] = ()
) -> None:
    """Store the task as succeeded, and add to its job those of the warnings that it lacks."""
    end(session, task, Outcome.SUCCEEDED)
    task.state = TaskState.SUCCEEDED.value
    task.output = dict(output)
    task.warnings = from_warnings(warnings)
    task.done = task.total
    record(session, task, "task.succeeded")
    jobs.warn(session, job, warnings)


def release(session: Session, job: JobRow, task: TaskRow) -> None:
    """Give the task back without a failure, or end it if its job is being cancelled."""
    if job.state == JobState.CANCELLING:
        end(session, task, Outcome.CANCELLED)
        cancel(session, job, task)
        return
    end(session, task, Outcome.RELEASED)
    make_ready(task, None)
    record(session, task, "task.released")


def end(session: Session, task: TaskRow, outcome: Outcome, failure: Failure | None = None) -> None:
    """Close the running attempt and revoke the lease."""
    totals.count_attempt(session, task.kind, outcome, failure)
    change = update(AttemptRow).where(AttemptRow.task_id == task.id, AttemptRow.number == task.attempt)
    values = {"finished_at": now(), "outcome": outcome.value}
    if failure is not None:
        values |= {"failure_kind": failure.kind.value, "failure_message": failure.message}
    session.execute(change.values(values), execution_options=UNFETCHED)
    task.token += 1
    task.worker = None
    task.lease_expires_at = None


def make_ready(task: TaskRow, retry_in: float | None) -> None:
    task.state = TaskState.READY.value
    task.not_before = now() + retry_in if retry_in else 0.0
    if task.ready_at is None:  # a task that was tried before keeps its place in the queue
        task.ready_at = now()


def cancel(session: Session, job: JobRow, task: TaskRow) -> None:
    """Cancel the task for good; its job becomes `cancelled` if no other task of it runs."""
    task.state = TaskState.CANCELLED.value
    session.flush()
    jobs.finish_cancelling(session, job)


def retry_or_fail(session: Session, job: JobRow, task: TaskRow, failure: Failure, backoff_seconds: float | None) -> bool:
    """Whether another attempt follows an unsuccessful one. If not, the job fails with `failure`,
    unless it is being cancelled.

    The delay before the next attempt grows with each failure.
    """
    retry_in = None if backoff_seconds is None or _tries_left(job, task) <= 1 else backoff_seconds * 2**task.failures
    task.failures += 1
    if job.state == JobState.CANCELLING:
        cancel(session, job, task)
        return False
    if retry_in is not None:
        make_ready(task, retry_in)
        record(session, task, "task.retried", {"failure": jobs.told(failure)})
        return True
    task.state = TaskState.FAILED.value
    session.flush()
    fail_job(session, job, failure)
    return False


def refuse(session: Session, job: JobRow, task: TaskRow, failure: Failure) -> None:
    """Fail a locked job whose task was claimed but cannot be attempted."""
    task.state = TaskState.FAILED.value
    task.attempt -= 1
    task.worker = None
    task.lease_expires_at = None
    session.flush()
    fail_job(session, job, failure)


def fail_job(session: Session, job: JobRow, failure: Failure) -> None:
    """Fail a locked job: no further task of it starts, and its running tasks lose their leases."""
    _close_tasks(session, job)
    jobs.move(session, job, JobState.FAILED, failure)


def _close_tasks(session: Session, job: JobRow) -> None:
    jobs.cancel_unstarted(session, job.id)
    running = select(TaskRow).where(TaskRow.job_id == job.id, TaskRow.state == TaskState.RUNNING).with_for_update()
    for task in session.scalars(running):
        end(session, task, Outcome.CANCELLED)
        task.state = TaskState.CANCELLED.value


def promote(session: Session, job_id: str, finished: TaskKind) -> list[TaskRow]:
    """Make the next kind of tasks ready if no task of kind `finished` is left.

    Returns the tasks that became ready, in order.
    """
    session.flush()
    of_job = (TaskRow.job_id == job_id,)
    if session.scalar(
        select(TaskRow.id).where(*of_job, TaskRow.kind == finished, TaskRow.state != literal_column("'succeeded'")).limit(1)
    ):
        return []
    waiting = session.scalars(select(TaskRow).where(*of_job, TaskRow.state == TaskState.WAITING)).all()
    if not waiting:
        return []
    kinds = list(TaskKind)
    following = min((TaskKind(task.kind) for task in waiting), key=kinds.index)
    promoted = sorted((task for task in waiting if task.kind == following), key=lambda task: task.ordinal)
    for task in promoted:
        make_ready(task, None)
    return promoted


def still_running(session: Session, task_id: str, token: int, *, skip_locked: bool) -> tuple[JobRow, TaskRow] | None:
    """The job's and the task's rows, locked, if the task still runs under this token, else None.

    The rows stay locked until the transaction ends. With `skip_locked`, the result is also None if
    another transaction holds either row now.
    """
    job_of_task = select(TaskRow.job_id).where(TaskRow.id == task_id).scalar_subquery()
    job = session.scalars(select(JobRow).where(JobRow.id == job_of_task).with_for_update(skip_locked=skip_locked)).one_or_none()
    if job is None:
        return None
    guard = (TaskRow.id == task_id, TaskRow.token == token, TaskRow.state == TaskState.RUNNING)
    task = session.scalars(select(TaskRow).where(*guard).with_for_update(skip_locked=skip_locked)).one_or_none()
    return None if task is None else (job, task)


def expire(session: Session, job: JobRow, task: TaskRow, backoff_seconds: float) -> None:
    """End the attempt as a crash, because the task's worker is presumed dead."""
    crash = Failure(FailureKind.CRASHED, f"worker {task.worker} stopped answering")
    end(session, task, Outcome.EXPIRED, crash)
    failure = crash if _tries_left(job, task) > 1 else Failure(FailureKind.CRASHED, _all_attempts(session, task))
    retry_or_fail(session, job, task, failure, backoff_seconds)


def _tries_left(job: JobRow, task: TaskRow) -> int:
    return int(job.spec["max_attempts"]) - task.failures


def _all_attempts(session: Session, task: TaskRow) -> str:
    tries = session.scalars(select(AttemptRow).where(AttemptRow.task_id == task.id).order_by(AttemptRow.number))
    told = "; ".join(f"attempt {one.number} on {one.worker}: {one.failure_message or one.outcome}" for one in tries)
    return f"{task.kind} task {task.ordinal} did not survive its attempts ({told})"


def record(session: Session, task: TaskRow, event_type: str, extra: Mapping[str, Any] | None = None) -> None:
    about = {"kind": task.kind, "ordinal": task.ordinal, "attempt": task.attempt}
    events.append(session, task.job_id, event_type, about | dict(extra or {}))
