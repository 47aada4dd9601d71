"""What happened to a job, in order: the rows behind the event stream."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.session import now
from app.db.tables import EventRow
from app.domain.job import Event


def append(session: Session, job_id: str, event_type: str, body: Mapping[str, Any] | None = None) -> None:
    """Record an event. The caller holds the job's row, so a job's ids grow in the order of commits."""
    session.add(EventRow(job_id=job_id, at=now(), type=event_type, body=dict(body or {})))


def after(session: Session, job_id: str, last_id: int, limit: int = 500) -> list[Event]:
    """The job's events with ids above `last_id`, oldest first."""
    query = select(EventRow).where(EventRow.job_id == job_id, EventRow.id > last_id).order_by(EventRow.id).limit(limit)
    return [Event(row.id, row.type, row.at, row.body) for row in session.scalars(query)]
