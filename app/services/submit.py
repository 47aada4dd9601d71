"""Accept a job."""

from sqlalchemy.orm import Session
from ulid import ULID

from app.db import jobs, tasks
from app.db.jobs import KeyUse
from app.db.rows import to_job
from app.domain.errors import IdempotencyKeyReused
from app.domain.job import Job, TaskState
from app.domain.plan import first_task
from app.domain.spec.job_spec import DistillationSpec
from app.services import validation
from app.services.resources import Resources


def submit(
    resources: Resources, spec: DistillationSpec, idempotency_key: str | None = None, *, traceparent: str | None = None
) -> Job:
    """The new job, or the one that an earlier request with the same key made; its tasks continue the trace `traceparent`.

    Raises InvalidSpec, BackboneUnavailable, or IdempotencyKeyReused if the key came before with another spec.
    """
    with resources.database.reading() as session:
        earlier = _earlier(session, spec, idempotency_key)
    if earlier is not None:
        return earlier
    validation.check(spec, resources.settings)
    with resources.database.transaction() as session:
        earlier = _earlier(session, spec, idempotency_key)
        if earlier is not None:
            return earlier
        row = jobs.insert(session, str(ULID()), spec, traceparent=traceparent)
        job, task = to_job(row), tasks.insert(session, row, [first_task()], TaskState.READY)[0]
        if idempotency_key is not None:
            jobs.remember_key(session, idempotency_key, KeyUse(spec.digest, job.id))
    resources.queue.wake(task.kind.queue)
    return job


def _earlier(session: Session, spec: DistillationSpec, key: str | None) -> Job | None:
    use = jobs.key_use(session, key) if key is not None else None
    if use is None:
        return None
    if use.request_sha256 != spec.digest:
        raise IdempotencyKeyReused(f"this Idempotency-Key was used for job {use.job_id}, whose spec is another")
    return jobs.get(session, use.job_id)
