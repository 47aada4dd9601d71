"""Idempotency keys: a request that is sent twice with one key makes one job."""

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db import jobs
from app.db.session import now
from app.db.tables import IdempotencyRow
from app.domain.errors import DatabaseUnavailable, IdempotencyKeyReused
from app.domain.job import Job
from app.domain.spec.job_spec import DistillationSpec


def earlier_job(session: Session, key: str, spec: DistillationSpec) -> Job | None:
    """The job of the first request with this key; None if the key has not been used.

    Raises IdempotencyKeyReused if the first request had another spec.
    """
    row = session.get(IdempotencyRow, key)
    if row is None:
        return None
    if row.request_sha256 != spec.digest:
        raise IdempotencyKeyReused(f"this Idempotency-Key was used for job {row.job_id}, whose spec is different")
    return jobs.get(session, row.job_id)


def remember(session: Session, key: str, spec: DistillationSpec, job_id: str) -> None:
    """Record the first use of a key.

    Raises DatabaseUnavailable if another transaction is recording the same key.
    """
    try:
        with session.begin_nested():
            session.add(IdempotencyRow(key=key, request_sha256=spec.digest, job_id=job_id, created_at=now()))
    except IntegrityError as error:
        raise DatabaseUnavailable("this Idempotency-Key is in use by another request; try again") from error
