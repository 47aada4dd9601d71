"""Remove a job that has ended."""

from app.db import jobs
from app.services.resources import Resources


def delete(resources: Resources, job_id: str) -> None:
    """Remove the job's rows, then its files: a crash in between leaves files nobody names, never a job without its files.

    Raises JobNotFound, IllegalTransition for a job that has not ended, StorageUnavailable.
    """
    with resources.database.transaction() as session:
        jobs.delete(session, job_id)
    resources.store.delete_prefix(f"jobs/{job_id}/")
