"""The current numbers of jobs, of tasks in each queue, and of workers."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import workers
from app.db.session import now
from app.db.tables import JobRow, TaskRow
from app.domain.job import JobState, Queue, TaskState


@dataclass(frozen=True)
class QueueCounts:
    """The tasks of one queue, and the live workers that consume it.

    `oldest_ready_seconds` is 0 if no task waits.
    """

    ready: int = 0
    running: int = 0
    oldest_ready_seconds: float = 0.0
    workers: int = 0


@dataclass(frozen=True)
class Counts:
    """The counts of every state and every queue, zeros included.

    `workers` counts each live worker once.
    """

    jobs: Mapping[JobState, int]
    queues: Mapping[Queue, QueueCounts]
    workers: int


def take(session: Session, heartbeat_seconds: float) -> Counts:
    """The counts, from three queries. `workers.alive` decides which workers are live."""
    jobs = {
        JobState(state): count for state, count in session.execute(select(JobRow.state, func.count()).group_by(JobRow.state))
    }
    tasks = _tasks(session)
    listening = [worker.about.queues for worker in workers.alive(session, heartbeat_seconds)]
    queues = {
        queue: QueueCounts(
            ready=tasks.get((queue, TaskState.READY), (0, 0.0))[0],
            running=tasks.get((queue, TaskState.RUNNING), (0, 0.0))[0],
            oldest_ready_seconds=tasks.get((queue, TaskState.READY), (0, 0.0))[1],
            workers=sum(queue in names for names in listening),
        )
        for queue in Queue
    }
    return Counts({state: jobs.get(state, 0) for state in JobState}, queues, len(listening))


def _tasks(session: Session) -> dict[tuple[str, str], tuple[int, float]]:
    """The number of tasks by queue and state, and for how many seconds the first has been ready."""
    waited = func.coalesce(now() - func.min(TaskRow.ready_at), 0.0)
    found = select(TaskRow.queue, TaskRow.state, func.count(), waited).where(
        TaskRow.state.in_((TaskState.READY, TaskState.RUNNING))
    )
    rows = session.execute(found.group_by(TaskRow.queue, TaskRow.state))
    return {(queue, state): (count, max(0.0, seconds)) for queue, state, count, seconds in rows}
