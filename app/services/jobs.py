"""What users do with jobs: submit, cancel, delete."""

from sqlalchemy.orm import Session
from ulid import ULID

from app.db import idempotency, jobs, leases
from app.db.rows import to_job
from app.domain.job import Job, TaskState
from app.domain.plan import first_task
from app.domain.spec.job_spec import DistillationSpec
from app.services import validation
from app.services.resources import Resources


def submit(
    resources: Resources, spec: DistillationSpec, idempotency_key: str | None = None, *, traceparent: str | None = None
) -> Job:
    """The new job, or the job that an earlier request with the same key made. Its tasks continue
    the trace `traceparent`.

    Raises InvalidSpec, BackboneUnavailable, or IdempotencyKeyReused if the key was used with
    another spec.
    """
    with resources.database.reading() as session:
        earlier = _earlier_job(session, spec, idempotency_key)
    if earlier is not None:
        return earlier
    validation.check(spec, resources.settings)
    with resources.database.transaction() as session:
        earlier = _earlier_job(session, spec, idempotency_key)
        if earlier is not None:
            return earlier
        row = jobs.insert(session, str(ULID()), spec, traceparent=traceparent)
        job, task = to_job(row), leases.insert(session, row, [first_task()], TaskState.READY)[0]
        if idempotency_key is not None:
            idempotency.remember(session, idempotency_key, spec, job.id)
    resources.queue.wake(task.kind.queue)
    return job


def cancel(resources: Resources, job_id: str) -> Job:
    """The job: `cancelled`, or `cancelling` until its running tasks have stopped. Cancelling twice
    changes nothing.

    Raises JobNotFound, or IllegalTransition for a job that has ended otherwise.
    """
    with resources.database.transaction() as session:
        return jobs.request_cancel(session, job_id)


def delete(resources: Resources, job_id: str) -> None:
    """Remove the rows of the job, then its files. A crash in between leaves files without a job,
    never a job without files.

    Raises JobNotFound, IllegalTransition for a job that has not ended, StorageUnavailable.
    """
    with resources.database.transaction() as session:
        jobs.delete(session, job_id)
    resources.store.delete_prefix(f"jobs/{job_id}/")


def _earlier_job(session: Session, spec: DistillationSpec, key: str | None) -> Job | None:
    return None if key is None else idempotency.earlier_job(session, key, spec)
