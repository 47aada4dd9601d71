"""Conversions between rows and the frozen values of the domain."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import RowMapping

from app.db.stored_specs import to_spec
from app.db.tables import AttemptRow, JobRow, TaskRow, WorkerRow
from app.domain.artifact import Artifact
from app.domain.job import (
    Attempt,
    Failure,
    FailureKind,
    Job,
    JobState,
    JobWarning,
    ListedJob,
    Outcome,
    Phase,
    Progress,
    Queue,
    Task,
    TaskKind,
    TaskState,
    WarningCode,
)
from app.domain.worker import About, Worker


def to_job(row: JobRow) -> Job:
    return Job(
        id=row.id,
        spec=to_spec(row),
        state=JobState(row.state),
        phase=Phase(row.phase) if row.phase else None,
        version=row.version,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        failure=to_failure(row.failure_kind, row.failure_message),
        archive=to_artifact(row.archive),
        preview=to_artifact(row.preview),
        metrics=row.metrics,
        warnings=to_warnings(row.warnings),
    )


def to_listed(row: RowMapping) -> ListedJob:
    """The listed job of a row with the columns `app.db.jobs.LISTED`."""
    return ListedJob(
        id=row["id"],
        dataset_uri=row["dataset_uri"],
        backbone=row["backbone"],
        ipc=row["ipc"] or 0,
        priority=row["priority"] or 0,
        state=JobState(row["state"]),
        phase=Phase(row["phase"]) if row["phase"] else None,
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        failure=to_failure(row["failure_kind"], row["failure_message"]),
        warnings=to_warnings(row["warnings"]),
        archive=to_artifact(row["archive"]),
        has_metrics=row["has_metrics"],
        has_preview=row["has_preview"],
    )


def to_task(row: TaskRow) -> Task:
    return Task(
        id=row.id,
        job_id=row.job_id,
        kind=TaskKind(row.kind),
        ordinal=row.ordinal,
        state=TaskState(row.state),
        attempt=row.attempt,
        input=row.input,
        progress=Progress(row.done, row.total),
        output=row.output,
        warnings=to_warnings(row.warnings),
    )


def to_attempt(row: AttemptRow) -> Attempt:
    return Attempt(
        task_id=row.task_id,
        number=row.number,
        worker=row.worker,
        started_at=row.started_at,
        finished_at=row.finished_at,
        outcome=Outcome(row.outcome) if row.outcome else None,
        failure=to_failure(row.failure_kind, row.failure_message),
    )


def to_worker(row: WorkerRow, task: TaskRow | None) -> Worker:
    about = About(
        queues=tuple(map(Queue, row.about["queues"])),
        device=row.about["device"],
        memory_bytes=row.about["memory_bytes"],
        backbones=tuple(row.about["backbones"]),
    )
    return Worker(row.name, about, to_task(task) if task else None, row.started_at, row.seen_at)


def to_failure(kind: str | None, message: str | None) -> Failure | None:
    return Failure(FailureKind(kind), message or "") if kind else None


def to_warnings(stored: Sequence[Mapping[str, str]] | None) -> tuple[JobWarning, ...]:
    return tuple(JobWarning(to_code(one["code"]), one["message"]) for one in stored or ())


def to_code(stored: str) -> WarningCode | str:
    """The warning code; a code of a newer version stays a plain string."""
    return WarningCode(stored) if stored in list(WarningCode) else stored


def from_warnings(warnings: Sequence[JobWarning]) -> list[dict[str, str]]:
    return [{"code": str(one.code), "message": one.message} for one in warnings]


def to_artifact(stored: Mapping[str, Any] | None) -> Artifact | None:
    return Artifact(**stored) if stored else None


def from_artifact(artifact: Artifact) -> dict[str, Any]:
    return asdict(artifact)
