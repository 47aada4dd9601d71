"""Stop a job."""

from app.db import jobs
from app.domain.job import Job
from app.services.resources import Resources


def cancel(resources: Resources, job_id: str) -> Job:
    """The job: `cancelled`, or `cancelling` until its running tasks have stopped. Asking again changes nothing.

    Raises JobNotFound, or IllegalTransition for a job that has ended otherwise.
    """
    with resources.database.transaction() as session:
        return jobs.request_cancel(session, job_id)
