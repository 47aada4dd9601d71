"""Jobs as views."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from app.db import jobs, tasks
from app.domain.artifact import Artifact
from app.domain.job import Attempt, Failure, Job, Task
from app.domain.progress import PhaseTally, fraction
from app.domain.views import (
    ArchiveView,
    AttemptView,
    FailureView,
    JobDetail,
    JobView,
    Links,
    PhaseProgress,
    ProgressView,
    TaskView,
    WarningView,
)


def job_detail(session: Session, job_id: str) -> JobDetail:
    """Raises JobNotFound."""
    job = jobs.get(session, job_id)
    found = tasks.of_job(session, job_id)
    by_id = {task.id: task for task in found}
    view = job_view(job, jobs.progress(session, [job_id])[job_id])
    return JobDetail(
        **dict(view),
        tasks=tuple(_task_view(task) for task in found),
        attempts=tuple(_attempt_view(attempt, by_id[attempt.task_id]) for attempt in tasks.attempts_of_job(session, job_id)),
    )


def job_views(session: Session, found: Sequence[Job]) -> list[JobView]:
    progress = jobs.progress(session, [job.id for job in found])
    return [job_view(job, progress[job.id]) for job in found]


def job_view(job: Job, tallies: Sequence[PhaseTally]) -> JobView:
    return JobView(
        id=job.id,
        state=job.state,
        phase=job.phase,
        spec=job.spec,
        created_at=moment(job.created_at),
        started_at=None if job.started_at is None else moment(job.started_at),
        finished_at=None if job.finished_at is None else moment(job.finished_at),
        progress=progress_view(tallies),
        failure=_failure_view(job.failure),
        warnings=tuple(WarningView(code=one.code, message=one.message) for one in job.warnings),
        archive=_archive_view(job.archive),
        links=_links(job),
    )


def progress_view(tallies: Sequence[PhaseTally]) -> ProgressView:
    phases = tuple(
        PhaseProgress(
            phase=tally.phase,
            tasks_done=tally.tasks_done,
            tasks_total=tally.tasks_total,
            done=tally.done,
            total=tally.total,
        )
        for tally in tallies
    )
    return ProgressView(fraction=round(fraction(tallies), 4), phases=phases)


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def location(job_id: str) -> str:
    return f"/v1/jobs/{job_id}"


def _links(job: Job) -> Links:
    here = location(job.id)
    return Links(
        self=here,
        events=f"{here}/events",
        cancel=f"{here}/cancel",
        archive=f"{here}/archive" if job.archive else None,
        metrics=f"{here}/metrics" if job.metrics is not None else None,
        preview=f"{here}/preview.png" if job.preview else None,
    )


def _task_view(task: Task) -> TaskView:
    return TaskView(
        kind=task.kind,
        ordinal=task.ordinal,
        state=task.state,
        input=task.input,
        done=task.progress.done,
        total=task.progress.total,
    )


def _attempt_view(attempt: Attempt, task: Task) -> AttemptView:
    return AttemptView(
        kind=task.kind,
        ordinal=task.ordinal,
        number=attempt.number,
        worker=attempt.worker,
        started_at=moment(attempt.started_at),
        finished_at=None if attempt.finished_at is None else moment(attempt.finished_at),
        outcome=attempt.outcome,
        failure=_failure_view(attempt.failure),
    )


def _failure_view(failure: Failure | None) -> FailureView | None:
    return FailureView(kind=failure.kind, message=failure.message) if failure else None


def _archive_view(archive: Artifact | None) -> ArchiveView | None:
    if archive is None:
        return None
    return ArchiveView(sha256=archive.sha256, size_bytes=archive.size_bytes, media_type=archive.media_type)
