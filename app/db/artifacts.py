"""The stored objects that rows name, and the jobs that own them."""

from collections.abc import Collection, Mapping

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from app.db.rows import to_artifact
from app.db.session import now
from app.db.tables import InstallationRow, JobRow
from app.domain.artifact import Artifact
from app.domain.job import JobState

ENDED = [state for state in JobState if state.terminal]


def installation(session: Session) -> str:
    """The id that distinguishes this database from every other; a restored copy has the same id."""
    return session.scalars(select(InstallationRow.id)).one()


def kept(session: Session, job_ids: Collection[str], grace_seconds: float) -> Mapping[str, frozenset[str] | None]:
    """The keys that each of these jobs keeps, by job id; a job that does not exist is left out.

    A job that ended more than `grace_seconds` ago keeps the keys of its archive and its preview,
    because nothing reads the outputs of its tasks after its end. None means that the job keeps
    everything.
    """
    ended = and_(JobRow.state.in_(ENDED), JobRow.finished_at <= now() - grace_seconds)
    query = select(JobRow.id, JobRow.archive, JobRow.preview, ended).where(JobRow.id.in_(job_ids))
    return {job_id: _keys(archive, preview) if over else None for job_id, archive, preview, over in session.execute(query)}


def published(session: Session, *, after: str, limit: int) -> list[tuple[str, list[Artifact]]]:
    """The archives and previews of the next succeeded jobs, in the order of ids, after `after`."""
    query = (
        select(JobRow.id, JobRow.archive, JobRow.preview)
        .where(JobRow.id > after, JobRow.state == JobState.SUCCEEDED)
        .order_by(JobRow.id)
        .limit(limit)
    )
    return [(job_id, _artifacts(archive, preview)) for job_id, archive, preview in session.execute(query)]


def _artifacts(*stored: Mapping[str, object] | None) -> list[Artifact]:
    return [artifact for artifact in map(to_artifact, stored) if artifact is not None]


def _keys(*stored: Mapping[str, object] | None) -> frozenset[str]:
    return frozenset(artifact.key for artifact in _artifacts(*stored))
