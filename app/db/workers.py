"""The worker processes, as they announce themselves. A worker's lease tells which task it runs."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict

from sqlalchemy import ColumnElement, and_, delete, literal_column, select, update
from sqlalchemy.orm import Session

from app.db.attempts import UNFETCHED
from app.db.rows import to_worker
from app.db.session import now
from app.db.tables import TaskRow, WorkerRow
from app.domain.job import Queue
from app.domain.worker import About, Worker

MISSED_BEATS = 3  # after this many missed heartbeats, a worker is no longer listed


def announce(session: Session, name: str, about: About) -> None:
    """Record that the worker is alive, and its current description."""
    change = update(WorkerRow).where(WorkerRow.name == name).values(about=asdict(about), seen_at=now())
    if session.scalar(change.returning(WorkerRow.name), execution_options=UNFETCHED) is None:
        session.add(WorkerRow(name=name, about=asdict(about), started_at=now(), seen_at=now()))


def gone(session: Session, name: str) -> None:
    """Remove a worker that has ended. Removing it twice is no error."""
    session.execute(delete(WorkerRow).where(WorkerRow.name == name), execution_options=UNFETCHED)


def forget(session: Session, unseen_seconds: float) -> int:
    """Remove the workers that were not seen for `unseen_seconds`; return how many there were.

    These workers ended without announcing their end.
    """
    change = delete(WorkerRow).where(WorkerRow.seen_at < now() - unseen_seconds).returning(WorkerRow.name)
    return len(session.scalars(change, execution_options=UNFETCHED).all())


def alive(session: Session, heartbeat_seconds: float) -> list[Worker]:
    """The workers seen within MISSED_BEATS heartbeats, by name."""
    running = TaskRow.state == literal_column("'running'")  # the condition of the index of running tasks
    holds = and_(TaskRow.worker == WorkerRow.name, running)
    query = select(WorkerRow, TaskRow).outerjoin(TaskRow, holds).where(_seen(heartbeat_seconds)).order_by(WorkerRow.name)
    found: dict[str, Worker] = {}
    for worker, task in session.execute(query):
        found.setdefault(worker.name, to_worker(worker, task))  # a worker whose claim got no answer may briefly hold two tasks
    return list(found.values())


def alive_by_queue(session: Session, heartbeat_seconds: float) -> Mapping[Queue, int]:
    """The number of live workers that serve each queue."""
    about = session.scalars(select(WorkerRow.about).where(_seen(heartbeat_seconds)))
    return Counter(Queue(queue) for one in about for queue in one["queues"])


def _seen(heartbeat_seconds: float) -> ColumnElement[bool]:
    return WorkerRow.seen_at > now() - MISSED_BEATS * heartbeat_seconds
