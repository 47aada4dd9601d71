"""The events of each job, in order: the rows behind the event stream."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from app.db.session import now
from app.db.tables import EventRow, JobRow
from app.domain.job import Event, JobState

PART = 200  # jobs per statement: databases limit the length and the depth of a statement


@dataclass(frozen=True)
class Standing:
    """How far a job has come: its state, and the id of its last event."""

    state: JobState
    last_id: int


def append(session: Session, job_id: str, event_type: str, body: Mapping[str, Any] | None = None) -> None:
    """Record an event.

    The caller has locked the job's row, so the ids of a job's events grow in the order of commits.
    """
    session.add(EventRow(job_id=job_id, at=now(), type=event_type, body=dict(body or {})))


def after(session: Session, job_id: str, last_id: int, limit: int = 500) -> list[Event]:
    """The job's events with ids above `last_id`, oldest first."""
    query = select(EventRow).where(EventRow.job_id == job_id, EventRow.id > last_id).order_by(EventRow.id).limit(limit)
    return [Event(row.id, row.type, row.at, row.body) for row in session.scalars(query)]


def standing(session: Session, job_ids: Sequence[str]) -> dict[str, Standing]:
    """The standing of each of these jobs that exists.

    One statement reads the state and the event id, so no state is reported before its event.
    """
    last_id = select(func.max(EventRow.id)).where(EventRow.job_id == JobRow.id).scalar_subquery()
    found: dict[str, Standing] = {}
    for first in range(0, len(job_ids), PART):
        rows = session.execute(select(JobRow.id, JobRow.state, last_id).where(JobRow.id.in_(job_ids[first : first + PART])))
        found.update((job_id, Standing(JobState(state), number or 0)) for job_id, state, number in rows)
    return found


def after_each(session: Session, seen: Mapping[str, int], limit: int) -> dict[str, list[Event]]:
    """Each job's events with ids above the one in `seen`, oldest first.

    At most `limit` events for each PART of the jobs.
    """
    found: defaultdict[str, list[Event]] = defaultdict(list)
    pairs = list(seen.items())
    for first in range(0, len(pairs), PART):
        later = [and_(EventRow.job_id == job_id, EventRow.id > last_id) for job_id, last_id in pairs[first : first + PART]]
        for row in session.scalars(select(EventRow).where(or_(*later)).order_by(EventRow.id).limit(limit)):
            found[row.job_id].append(Event(row.id, row.type, row.at, row.body))
    return dict(found)
