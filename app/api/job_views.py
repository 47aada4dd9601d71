"""The JSON views of jobs, built from the database."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from app.db import jobs, queries
from app.db.queries import AttemptOfTask
from app.domain.artifact import Artifact
from app.domain.job import Failure, Job, JobWarning, ListedJob, Task
from app.domain.progress import PhaseTally, fraction
from app.schemas import (
    ArchiveView,
    AttemptCounts,
    AttemptView,
    FailureView,
    JobDetail,
    JobSummary,
    JobView,
    Links,
    PhaseProgress,
    ProgressView,
    TaskView,
    WarningView,
)


def job_detail(session: Session, job_id: str) -> JobDetail:
    """Raises JobNotFound."""
    view = job_view(jobs.get(session, job_id), jobs.progress(session, [job_id])[job_id])
    counts = queries.attempt_counts(session, job_id)
    return JobDetail(**dict(view), attempts=AttemptCounts(total=counts.total, failed=counts.failed))


def job_summaries(session: Session, found: Sequence[ListedJob]) -> list[JobSummary]:
    progress = jobs.progress(session, [job.id for job in found])
    return [_job_summary(job, progress[job.id]) for job in found]


def _job_summary(job: ListedJob, tallies: Sequence[PhaseTally]) -> JobSummary:
    return JobSummary(
        id=job.id,
        state=job.state,
        phase=job.phase,
        dataset_uri=job.dataset_uri,
        backbone=job.backbone,
        ipc=job.ipc,
        priority=job.priority,
        created_at=moment(job.created_at),
        started_at=_moment(job.started_at),
        finished_at=_moment(job.finished_at),
        progress=progress_view(tallies),
        failure=_failure_view(job.failure),
        warnings=_warning_views(job.warnings),
        archive=_archive_view(job.archive),
        links=_links(job.id, archive=job.archive is not None, metrics=job.has_metrics, preview=job.has_preview),
    )


def job_view(job: Job, tallies: Sequence[PhaseTally]) -> JobView:
    return JobView(
        id=job.id,
        state=job.state,
        phase=job.phase,
        spec=job.spec,
        created_at=moment(job.created_at),
        started_at=_moment(job.started_at),
        finished_at=_moment(job.finished_at),
        progress=progress_view(tallies),
        failure=_failure_view(job.failure),
        warnings=_warning_views(job.warnings),
        archive=_archive_view(job.archive),
        links=_links(job.id, archive=job.archive is not None, metrics=job.metrics is not None, preview=job.preview is not None),
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


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else moment(seconds)


def location(job_id: str) -> str:
    return f"/v1/jobs/{job_id}"


def _links(job_id: str, *, archive: bool, metrics: bool, preview: bool) -> Links:
    here = location(job_id)
    return Links(
        self=here,
        events=f"{here}/events",
        cancel=f"{here}/cancel",
        tasks=f"{here}/tasks",
        attempts=f"{here}/attempts",
        archive=f"{here}/archive" if archive else None,
        metrics=f"{here}/metrics" if metrics else None,
        preview=f"{here}/preview.png" if preview else None,
    )


def task_view(task: Task) -> TaskView:
    return TaskView(
        kind=task.kind,
        ordinal=task.ordinal,
        state=task.state,
        input=task.input,
        done=task.progress.done,
        total=task.progress.total,
    )


def attempt_view(found: AttemptOfTask) -> AttemptView:
    attempt = found.attempt
    return AttemptView(
        kind=found.kind,
        ordinal=found.ordinal,
        number=attempt.number,
        worker=attempt.worker,
        started_at=moment(attempt.started_at),
        finished_at=_moment(attempt.finished_at),
        outcome=attempt.outcome,
        failure=_failure_view(attempt.failure),
    )


def _warning_views(warnings: Sequence[JobWarning]) -> tuple[WarningView, ...]:
    return tuple(WarningView(code=one.code, message=one.message) for one in warnings)


def _failure_view(failure: Failure | None) -> FailureView | None:
    return FailureView(kind=failure.kind, message=failure.message) if failure else None


def _archive_view(archive: Artifact | None) -> ArchiveView | None:
    if archive is None:
        return None
    return ArchiveView(sha256=archive.sha256, size_bytes=archive.size_bytes, media_type=archive.media_type)
