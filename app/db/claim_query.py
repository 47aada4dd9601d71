"""The tasks that may be claimed, and which comes first. Only app.db.leases calls this.

Every query here names states of tasks as literals, because a partial index is used only if its
condition appears in the query.
"""

from collections.abc import Collection

from sqlalchemy import ColumnElement, Label, Subquery, and_, case, func, literal_column, or_, select, union_all, update
from sqlalchemy.orm import Session, aliased

from app.db.session import now
from app.db.tables import JobRow, TaskRow
from app.domain.job import JobState, Queue, TaskState
from app.domain.worker import Claimant

WINDOW = 64  # tasks that a claim compares, so that its cost does not grow with the number of ready tasks
COUNTED = 10_000


def best_job(session: Session, claimant: Claimant, *, except_of: Collection[str]) -> JobRow | None:
    """The job whose task suits the claimant best, its row locked; None if nothing is ready.

    The row stays locked until the transaction ends. The jobs in `except_of` are skipped. A job that
    another transaction has locked is skipped only while an unlocked job has a task that suits the
    claimant equally well. It is worth waiting for a better job, because a transaction locks a job's
    row for milliseconds. SQLite has one writer at a time.
    """
    free = _best_job(session, claimant, except_of, skip_locked=True)
    return free or _best_job(session, claimant, except_of, skip_locked=False)


def _best_job(session: Session, claimant: Claimant, except_of: Collection[str], *, skip_locked: bool) -> JobRow | None:
    best = _ranked(claimant, except_of)
    query = (
        select(JobRow)
        .join(best, best.c.job_id == JobRow.id)
        .where(best.c.place == 1)
        .order_by(best.c.overdue_since, best.c.id)
        .limit(1)
        .with_for_update(of=JobRow, skip_locked=skip_locked)
    )
    return session.scalars(query, execution_options={"populate_existing": True}).one_or_none()


def take(session: Session, job: JobRow, claimant: Claimant, lease_seconds: float) -> TaskRow | None:
    """The locked job's first ready task in the claimant's queues, now running.

    None if other workers have taken all of them.
    """
    task = aliased(TaskRow)
    unfinished = task.state != literal_column("'succeeded'")  # the index is partial; SQLite cannot infer its condition
    of_job = (task.job_id == job.id, unfinished, _ready(task), task.queue.in_(sorted(claimant.queues)))
    first = select(task.id).where(*of_job).order_by(task.id).limit(1).scalar_subquery()
    change = (
        update(TaskRow)
        .where(TaskRow.id == first)
        .values(
            state=TaskState.RUNNING,
            attempt=TaskRow.attempt + 1,
            token=TaskRow.token + 1,
            worker=claimant.name,
            lease_expires_at=now() + lease_seconds,
        )
        .returning(TaskRow)
    )
    return session.scalars(change, execution_options={"synchronize_session": False, "populate_existing": True}).one_or_none()


def counts(session: Session) -> dict[Queue, int]:
    """The number of tasks in each queue that could be claimed now; counting stops at COUNTED."""
    return {queue: session.scalar(select(func.count()).select_from(_some_of(queue))) or 0 for queue in Queue}


def _some_of(queue: Queue) -> Subquery:
    return select(TaskRow.id).where(*_claimable(queue, ())).limit(COUNTED).subquery()


def _ranked(claimant: Claimant, except_of: Collection[str]) -> Subquery:
    """The window's tasks, ranked by how well they suit the claimant; the best all have `place` 1.

    A higher priority comes first. Within a priority, tasks that have waited longer than the
    claimant's patience come first, the longest first, so that no task starves among its equals.
    """
    near = union_all(*(select(_window(queue, except_of)) for queue in sorted(claimant.queues))).subquery("near")
    overdue = near.c.ready_at <= now() - claimant.patience_seconds
    holds_backbone = near.c.backbone.in_(claimant.backbones)
    holds_dataset = near.c.dataset_uri.in_(claimant.dataset_uris)
    warmth = case((overdue, 0), (and_(holds_backbone, holds_dataset), 1), (holds_backbone, 2), (holds_dataset, 3), else_=4)
    place: Label[int] = func.rank().over(order_by=(near.c.rank, warmth)).label("place")
    overdue_since = case((overdue, near.c.ready_at), else_=0.0).label("overdue_since")
    return select(near.c.id, near.c.job_id, place, overdue_since).subquery("best")


def _window(queue: Queue, except_of: Collection[str]) -> Subquery:
    return (
        select(TaskRow.id, TaskRow.job_id, TaskRow.rank, TaskRow.ready_at, JobRow.backbone, JobRow.dataset_uri)
        .where(*_claimable(queue, except_of))
        .order_by(TaskRow.rank, TaskRow.id)
        .limit(WINDOW)
        .with_hint(TaskRow, "INDEXED BY tasks_ready", "sqlite")  # else it sorts all tasks of all open jobs
        .subquery()
    )


def _claimable(queue: Queue, except_of: Collection[str]) -> tuple[ColumnElement[bool], ...]:
    """The conditions for ready tasks, joined with their jobs, of jobs that may run.

    A queued job past its deadline is left to `expire`.
    """
    in_time = or_(JobRow.deadline_at.is_(None), JobRow.deadline_at > now())
    open_job = or_(JobRow.state == JobState.RUNNING, and_(JobRow.state == JobState.QUEUED, in_time))
    others = (TaskRow.job_id.not_in(except_of),) if except_of else ()
    return JobRow.id == TaskRow.job_id, TaskRow.queue == queue.value, _ready(TaskRow), open_job, *others


def _ready(task: type[TaskRow]) -> ColumnElement[bool]:
    return and_(task.state == literal_column("'ready'"), task.not_before <= now())
