"""The state machine of tasks: claim, renew, finish, fail, release.

A token proves a lease. Every write under a lease first checks that the task is running with that
token, and raises LeaseLost if it is not. A job that ends while tasks of it still run revokes their
leases in the same transaction. A job that has ended therefore has no running task, and the workers
of those tasks get LeaseLost at their next step.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import case, select, update
from sqlalchemy.orm import Session
from ulid import ULID

from app.db import attempts, claim_query, jobs
from app.db.attempts import UNFETCHED, hold, lost, under
from app.db.rows import from_artifact, to_task
from app.db.session import now
from app.db.stored_specs import OfNewerVersion, UnreadableSpec, to_runnable_spec
from app.db.tables import JobRow, TaskRow
from app.domain.artifact import Artifact
from app.domain.errors import Cancelled, LeaseLost
from app.domain.job import (
    Failure,
    FailureKind,
    JobState,
    JobWarning,
    Lease,
    NewTask,
    Outcome,
    Progress,
    Queue,
    Task,
    TaskKind,
    TaskState,
)
from app.domain.worker import Claimant

CLAIM_TRIES = 10


def insert(session: Session, job: JobRow, new_tasks: Sequence[NewTask], state: TaskState) -> list[Task]:
    """The job's new tasks, as stored; their ids follow the given order."""
    rows = [
        TaskRow(
            id=str(ULID()),
            job_id=job.id,
            kind=new.kind.value,
            queue=new.kind.queue.value,
            rank=-int(job.spec.get("priority", 0)),
            ordinal=new.ordinal,
            state=state.value,
            input=dict(new.input),
            attempt=0,
            failures=0,
            token=0,
            not_before=0.0,
            ready_at=now() if state is TaskState.READY else None,
            done=0,
            total=new.total,
        )
        for new in new_tasks
    ]
    session.add_all(rows)
    session.flush()
    return [to_task(row) for row in rows]


def claim(session: Session, claimant: Claimant, lease_seconds: float) -> Lease | None:
    """A lease for `lease_seconds` on the ready task that suits the claimant best, or None.

    None means that there is nothing to do, or that others were faster CLAIM_TRIES times. The job's
    row is locked before the task's. If other workers took the job's last task first, the job's row
    is released before the next search, so that a claimant that waits for a job locks no other job.
    A job whose spec is of a newer version is left to workers of that version. A job whose spec
    cannot be read at all fails. Neither kind of job keeps the claimant from the jobs behind it.
    """
    tries, of_others = CLAIM_TRIES, set[str]()
    while tries:
        with session.begin_nested() as held:
            job = claim_query.best_job(session, claimant, except_of=of_others)
            if job is None:
                return None
            task = claim_query.take(session, job, claimant, lease_seconds)
            if task is None:
                tries -= 1
                held.rollback()
                continue
            try:
                spec = to_runnable_spec(job)
            except OfNewerVersion:
                of_others.add(job.id)
                held.rollback()
            except UnreadableSpec as error:
                attempts.refuse(session, job, task, Failure(FailureKind.INTERNAL, str(error)))
            else:
                attempts.begin(session, job, task, claimant.name)
                return Lease(to_task(task), spec, task.token, job.traceparent)
    return None


def claimable(session: Session) -> Mapping[Queue, int]:
    """The number of tasks in each queue that could be claimed now, counted up to 10,000."""
    return claim_query.counts(session)


def renew(session: Session, lease: Lease, lease_seconds: float, progress: Progress | None = None) -> bool:
    """Extend the lease, and store the progress unless the task's share would fall.

    Returns whether the user asked the job to stop. Raises LeaseLost, also if the job has ended
    because another of its tasks failed.
    """
    values: dict[Any, Any] = {TaskRow.lease_expires_at: now() + lease_seconds}
    if progress is not None and progress.total > 0:
        done = max(0, min(progress.done, progress.total))
        forward = done * TaskRow.total >= TaskRow.done * progress.total
        values[TaskRow.done] = case((forward, done), else_=TaskRow.done)
        values[TaskRow.total] = case((forward, progress.total), else_=TaskRow.total)
    change = update(TaskRow).where(*under(lease)).values(values).returning(TaskRow.id)
    if session.scalar(change, execution_options=UNFETCHED) is None:
        raise lost(lease)
    return cancel_requested(session, lease)


def cancel_requested(session: Session, lease: Lease) -> bool:
    """Whether the user asked the job to stop. Raises LeaseLost.

    It is one read, cheap enough for every sampling step.
    """
    query = select(JobRow.state).join(TaskRow, TaskRow.job_id == JobRow.id).where(*under(lease))
    state = session.scalar(query)
    if state is None:
        raise lost(lease)
    return state == JobState.CANCELLING


def finish(
    session: Session,
    lease: Lease,
    output: Mapping[str, Any],
    *,
    then: Sequence[NewTask] = (),
    warnings: Sequence[JobWarning] = (),
) -> list[Task]:
    """Store the task as succeeded, add its warnings to the job's, and insert `then` as waiting.

    Returns the tasks that became ready: the tasks of the next kind, if this was the last unfinished
    task of its kind. Raises LeaseLost, or Cancelled without changing anything.
    """
    job, task = _publishable(session, lease)
    attempts.succeed(session, job, task, output, warnings)
    insert(session, job, then, TaskState.WAITING)
    return [to_task(row) for row in attempts.promote(session, job.id, TaskKind(task.kind))]


def complete(
    session: Session,
    lease: Lease,
    output: Mapping[str, Any],
    *,
    archive: Artifact,
    preview: Artifact,
    metrics: Mapping[str, Any],
    warnings: Sequence[JobWarning] = (),
) -> None:
    """Finish the last task and with it the job.

    Raises LeaseLost, or Cancelled without changing anything.
    """
    job, task = _publishable(session, lease)
    attempts.succeed(session, job, task, output, warnings)
    job.archive = from_artifact(archive)
    job.preview = from_artifact(preview)
    job.metrics = dict(metrics)
    jobs.move(session, job, JobState.SUCCEEDED)


def _publishable(session: Session, lease: Lease) -> tuple[JobRow, TaskRow]:
    job, task = hold(session, lease)
    if job.state == JobState.CANCELLING:
        raise Cancelled(f"job {job.id} was asked to stop")
    return job, task


def fail(session: Session, lease: Lease, failure: Failure, *, backoff_seconds: float | None) -> bool:
    """Whether the failed task will be retried.

    The retry comes after `backoff_seconds`, doubled for each earlier failure. Without a backoff, or
    after the last allowed attempt, the job fails with this failure, unless it is being cancelled.
    Raises LeaseLost.
    """
    job, task = hold(session, lease)
    attempts.end(session, task, Outcome.FAILED, failure)
    return attempts.retry_or_fail(session, job, task, failure, backoff_seconds)


def release(session: Session, lease: Lease) -> None:
    """Give the task back, to be claimed at once; this counts as no failure. Raises LeaseLost."""
    attempts.release(session, *hold(session, lease))


def cancelled(session: Session, lease: Lease) -> None:
    """Record that the worker has stopped the task as asked.

    The job becomes `cancelled` once this is recorded for its last running task. Raises LeaseLost,
    also if nobody asked the job to stop.
    """
    job, task = hold(session, lease)
    if job.state != JobState.CANCELLING:
        raise LeaseLost(f"job {job.id} is {job.state}; it was not asked to stop")
    attempts.end(session, task, Outcome.CANCELLED)
    attempts.cancel(session, job, task)


def of_job(session: Session, job_id: str) -> list[Task]:
    """All tasks of a job in the order of the graph."""
    kinds = list(TaskKind)
    found = (to_task(row) for row in session.scalars(select(TaskRow).where(TaskRow.job_id == job_id)))
    return sorted(found, key=lambda task: (kinds.index(task.kind), task.ordinal))


def task_outputs(session: Session, job_id: str, kind: TaskKind) -> list[Task]:
    """The job's succeeded tasks of one kind, by ordinal."""
    query = select(TaskRow).where(TaskRow.job_id == job_id, TaskRow.kind == kind, TaskRow.state == TaskState.SUCCEEDED)
    return [to_task(row) for row in session.scalars(query.order_by(TaskRow.ordinal))]
