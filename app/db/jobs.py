"""Queries and changes of jobs.

Every transaction that changes the state of a job or of its tasks locks the job's row first. This
single order prevents deadlocks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Double, case, cast, func, select, update
from sqlalchemy.orm import Session

from app.db import events, totals
from app.db.rows import from_warnings, to_job, to_listed, to_warnings
from app.db.session import now
from app.db.tables import JobRow, TaskRow
from app.domain.errors import IllegalTransition, JobNotFound
from app.domain.job import Failure, Job, JobState, JobWarning, ListedJob, TaskKind, TaskState, check_transition
from app.domain.progress import PhaseTally
from app.domain.spec.job_spec import DistillationSpec

LISTED = (
    JobRow.id,
    JobRow.dataset_uri,
    JobRow.backbone,
    JobRow.spec["ipc"].as_integer().label("ipc"),
    JobRow.spec["priority"].as_integer().label("priority"),
    JobRow.state,
    JobRow.phase,
    JobRow.created_at,
    JobRow.started_at,
    JobRow.finished_at,
    JobRow.failure_kind,
    JobRow.failure_message,
    JobRow.warnings,
    JobRow.archive,
    JobRow.metrics.is_not(None).label("has_metrics"),
    JobRow.preview.is_not(None).label("has_preview"),
)


@dataclass(frozen=True)
class Filters:
    """The jobs to list; None matches any value."""

    state: JobState | None = None
    dataset_uri: str | None = None
    backbone: str | None = None


def insert(session: Session, job_id: str, spec: DistillationSpec, *, traceparent: str | None = None) -> JobRow:
    """The row of a new queued job, without tasks yet.

    `traceparent` is the W3C trace context of its submission.
    """
    deadline = spec.deadline_seconds
    row = JobRow(
        id=job_id,
        spec=spec.model_dump(mode="json"),
        dataset_uri=spec.dataset_uri,
        backbone=spec.backbone,
        state=JobState.QUEUED.value,
        version=1,
        created_at=now(),
        deadline_at=None if deadline is None else now() + deadline,
        traceparent=traceparent,
    )
    session.add(row)
    session.flush()
    events.append(session, job_id, "job.queued")
    return row


def get(session: Session, job_id: str) -> Job:
    """The job. Raises JobNotFound."""
    row = session.get(JobRow, job_id)
    if row is None:
        raise JobNotFound(job_id)
    return to_job(row)


def page(session: Session, filters: Filters, *, limit: int, cursor: str | None = None) -> tuple[list[ListedJob], str | None]:
    """At most `limit` jobs older than the job `cursor`, newest first.

    Also returns the next cursor if there are more jobs.
    """
    query = select(*LISTED).order_by(JobRow.id.desc()).limit(limit + 1)
    if cursor is not None:
        query = query.where(JobRow.id < cursor)
    for column, wanted in (
        (JobRow.state, filters.state),
        (JobRow.dataset_uri, filters.dataset_uri),
        (JobRow.backbone, filters.backbone),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    found = [to_listed(row) for row in session.execute(query).mappings()]
    return found[:limit], found[limit - 1].id if len(found) > limit else None


def progress(session: Session, job_ids: Sequence[str]) -> Mapping[str, list[PhaseTally]]:
    """The tallies of each job's phases, in order, from one query."""
    share = case((TaskRow.total > 0, cast(TaskRow.done, Double) / TaskRow.total), else_=0.0)
    succeeded = case((TaskRow.state == TaskState.SUCCEEDED, 1), else_=0)
    sums = (func.sum(succeeded), func.count(), func.sum(TaskRow.done), func.sum(TaskRow.total), func.avg(share))
    query = (
        select(TaskRow.job_id, TaskRow.kind, *sums).where(TaskRow.job_id.in_(job_ids)).group_by(TaskRow.job_id, TaskRow.kind)
    )
    kinds = list(TaskKind)
    tallies: dict[str, list[PhaseTally]] = {job_id: [] for job_id in job_ids}
    for job_id, kind, *numbers in sorted(session.execute(query), key=lambda found: kinds.index(TaskKind(found[1]))):
        tallies[job_id].append(PhaseTally(TaskKind(kind).phase, *numbers))
    return tallies


def lock(session: Session, job_id: str) -> JobRow:
    """The job's row, locked until the transaction ends. Raises JobNotFound."""
    row = session.scalars(select(JobRow).where(JobRow.id == job_id).with_for_update()).one_or_none()
    if row is None:
        raise JobNotFound(job_id)
    return row


def move(session: Session, row: JobRow, after: JobState, failure: Failure | None = None) -> None:
    """Change a locked job's state. Raises IllegalTransition."""
    check_transition(JobState(row.state), after)
    row.state = after.value
    row.version += 1
    if after is JobState.RUNNING:
        limit = row.spec.get("time_limit_seconds")
        row.started_at = now()
        row.must_end_at = None if limit is None else now() + limit
    if after.terminal:
        row.phase = None
        row.finished_at = now()
        totals.count_job(session, after, failure)
    if failure is not None:
        row.failure_kind = failure.kind.value
        row.failure_message = failure.message
    events.append(session, row.id, f"job.{after.value}", {"failure": told(failure)} if failure else {})


def warn(session: Session, row: JobRow, warnings: Sequence[JobWarning]) -> None:
    """Add to a locked job those of the warnings that it lacks, with an event for each."""
    known = to_warnings(row.warnings)
    new = [one for one in dict.fromkeys(warnings) if one not in known]
    if not new:
        return
    row.warnings = from_warnings([*known, *new])
    row.version += 1
    for body in from_warnings(new):
        events.append(session, row.id, "job.warning", body)


def told(failure: Failure) -> dict[str, str]:
    """The failure in the form that events carry."""
    return {"kind": failure.kind.value, "message": failure.message}


def request_cancel(session: Session, job_id: str) -> Job:
    """The job after a request to stop it: `cancelling` if a task runs, else `cancelled` at once.

    A repeated request changes nothing. Raises JobNotFound, or IllegalTransition for a job that has
    ended in another way.
    """
    row = lock(session, job_id)
    if row.state in (JobState.CANCELLING, JobState.CANCELLED):
        return to_job(row)
    if JobState(row.state).terminal:
        raise IllegalTransition(f"the job has already ended: it is {row.state}")
    move(session, row, JobState.CANCELLED if row.state == JobState.QUEUED else JobState.CANCELLING)
    cancel_unstarted(session, job_id)
    if row.state == JobState.CANCELLING:
        finish_cancelling(session, row)
    session.flush()
    return to_job(row)


def cancel_unstarted(session: Session, job_id: str) -> None:
    """Cancel every task of the locked job that has not started."""
    unstarted = TaskRow.state.in_((TaskState.WAITING, TaskState.READY))
    change = update(TaskRow).where(TaskRow.job_id == job_id, unstarted).values(state=TaskState.CANCELLED)
    session.execute(change, execution_options={"synchronize_session": False})


def finish_cancelling(session: Session, row: JobRow) -> None:
    """Move a locked job from `cancelling` to `cancelled`, once none of its tasks runs."""
    running = select(TaskRow.id).where(TaskRow.job_id == row.id, TaskRow.state == TaskState.RUNNING).limit(1)
    if session.scalar(running) is None:
        move(session, row, JobState.CANCELLED)


def delete(session: Session, job_id: str) -> None:
    """Remove an ended job's rows. Raises JobNotFound, or IllegalTransition if it has not ended."""
    row = lock(session, job_id)
    if not JobState(row.state).terminal:
        raise IllegalTransition(f"the job is {row.state}; cancel it before deleting it")
    session.delete(row)
