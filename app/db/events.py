"""What happened to a job, in order: the rows behind the event stream."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from app.db.session import now
from app.db.tables import EventRow, JobRow
from app.domain.job import Event, JobState

PART = 200  # jobs in one statement: databases limit how long and how deep it may be


@dataclass(frozen=True)
class Standing:
    """How far a job is: its state, and the id of its last event."""

    state: JobState
    last_id: int


def append(session: Session, job_id: str, event_type: str, body: Mapping[str, Any] | None = None) -> None:
    """Record an event. The caller holds the job's row, so a job's ids grow in the order of commits."""
    session.add(EventRow(job_id=job_id, at=now(), type=event_type, body=dict(body or {})))


def after(session: Session, job_id: str, last_id: int, limit: int = 500) -> list[Event]:
    """The job's events with ids above `last_id`, oldest first."""
    query = select(EventRow).where(EventRow.job_id == job_id, EventRow.id > last_id).order_by(EventRow.id).limit(limit)
    return [Event(row.id, row.type, row.at, row.body) for row in session.scalars(query)]


def standing(session: Session, job_ids: Sequence[str]) -> dict[str, Standing]:
    """Of each of these jobs that is there; both are read by one statement, so no state is told before its event."""
    last_id = select(func.max(EventRow.id)).where(EventRow.job_id == JobRow.id).scalar_subquery()
    found: dict[str, Standing] = {}
    for first in range(0, len(job_ids), PART):
        rows = session.execute(select(JobRow.id, JobRow.state, last_id).where(JobRow.id.in_(job_ids[first : first + PART])))
        found.update((job_id, Standing(JobState(state), number or 0)) for job_id, state, number in rows)
    return found


def after_each(session: Session, seen: Mapping[str, int], limit: int) -> dict[str, list[Event]]:
    """Each job's events with ids above that one, oldest first; about `limit` of all of them together at most."""
    found: defaultdict[str, list[Event]] = defaultdict(list)
    pairs = list(seen.items())
    for first in range(0, len(pairs), PART):
        later = [and_(EventRow.job_id == job_id, EventRow.id > last_id) for job_id, last_id in pairs[first : first + PART]]
        for row in session.scalars(select(EventRow).where(or_(*later)).order_by(EventRow.id).limit(limit)):
            found[row.job_id].append(Event(row.id, row.type, row.at, row.body))
    return dict(found)
