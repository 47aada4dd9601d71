"""Tasks and attempts of a job, page by page, without the large columns that no page shows."""

from dataclasses import dataclass

from sqlalchemy import RowMapping, case, func, or_, select, tuple_
from sqlalchemy.orm import Session

from app.db.rows import to_attempt
from app.db.tables import AttemptRow, JobRow, TaskRow
from app.domain.errors import JobNotFound
from app.domain.job import Attempt, Outcome, Progress, Task, TaskKind, TaskState

UNSUCCESSFUL = (Outcome.FAILED, Outcome.EXPIRED)


@dataclass(frozen=True)
class AttemptOfTask:
    """An attempt, and the kind and ordinal of its task."""

    attempt: Attempt
    kind: TaskKind
    ordinal: int


@dataclass(frozen=True)
class AttemptCounts:
    """The number of attempts at a job's tasks, and of attempts that failed or whose worker died."""

    total: int
    failed: int


def require(session: Session, job_id: str) -> None:
    """Raises JobNotFound if there is no such job."""
    if session.scalar(select(JobRow.id).where(JobRow.id == job_id)) is None:
        raise JobNotFound(job_id)


def tasks(
    session: Session, job_id: str, *, limit: int, after: tuple[TaskKind, int] | None = None, state: TaskState | None = None
) -> list[Task]:
    """At most `limit` of the job's tasks in the order of the graph, after the task `after`.

    The outputs of the tasks are left out.
    """
    place = case({kind.value: number for number, kind in enumerate(TaskKind)}, value=TaskRow.kind)
    columns = (
        TaskRow.id,
        TaskRow.kind,
        TaskRow.ordinal,
        TaskRow.state,
        TaskRow.attempt,
        TaskRow.input,
        TaskRow.done,
        TaskRow.total,
    )
    query = select(*columns).where(TaskRow.job_id == job_id).order_by(place, TaskRow.ordinal).limit(limit)
    if after is not None:
        number = list(TaskKind).index(after[0])
        query = query.where(or_(place > number, (TaskRow.kind == after[0]) & (TaskRow.ordinal > after[1])))
    if state is not None:
        query = query.where(TaskRow.state == state)
    return [_task(job_id, row) for row in session.execute(query).mappings()]


def _task(job_id: str, row: RowMapping) -> Task:
    return Task(
        id=row["id"],
        job_id=job_id,
        kind=TaskKind(row["kind"]),
        ordinal=row["ordinal"],
        state=TaskState(row["state"]),
        attempt=row["attempt"],
        input=row["input"],
        progress=Progress(row["done"], row["total"]),
    )


def attempts(
    session: Session,
    job_id: str,
    *,
    limit: int,
    after: tuple[float, str, int] | None = None,
    outcomes: tuple[Outcome, ...] = (),
) -> list[AttemptOfTask]:
    """At most `limit` attempts at the job's tasks, oldest first.

    They come after the attempt with the start time, task and number in `after`.
    """
    order = (AttemptRow.started_at, AttemptRow.task_id, AttemptRow.number)
    query = select(AttemptRow, TaskRow.kind, TaskRow.ordinal).join(TaskRow, TaskRow.id == AttemptRow.task_id)
    query = query.where(TaskRow.job_id == job_id).order_by(*order).limit(limit)
    if after is not None:
        query = query.where(tuple_(*order) > after)
    if outcomes:
        query = query.where(AttemptRow.outcome.in_(outcomes))
    return [AttemptOfTask(to_attempt(row), TaskKind(kind), ordinal) for row, kind, ordinal in session.execute(query)]


def attempt_counts(session: Session, job_id: str) -> AttemptCounts:
    """The counts of all attempts at the job's tasks."""
    failed = func.coalesce(func.sum(case((AttemptRow.outcome.in_(UNSUCCESSFUL), 1), else_=0)), 0)
    query = select(func.count(), failed).join(TaskRow, TaskRow.id == AttemptRow.task_id).where(TaskRow.job_id == job_id)
    return AttemptCounts(*map(int, session.execute(query).one()))
