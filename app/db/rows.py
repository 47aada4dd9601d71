"""Rows as the frozen values of the domain."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError
from sqlalchemy import RowMapping

from app.db.tables import AttemptRow, JobRow, TaskRow, WorkerRow
from app.domain.artifact import Artifact
from app.domain.errors import DatabaseUnavailable
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
from app.domain.spec import DistillationSpec
from app.domain.worker import About, Worker


def to_job(row: JobRow) -> Job:
    return Job(
        id=row.id,
        spec=to_spec(row.spec),
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


def to_spec(stored: Mapping[str, Any]) -> DistillationSpec:
    """The spec to look at; fields that only a newer version knows are left out."""
    try:
        return DistillationSpec.model_validate(stored)
    except ValidationError as error:
        known = copy.deepcopy(dict(stored))
        for fault in error.errors(include_input=False, include_url=False):
            if fault["type"] != "extra_forbidden":
                raise
            *names, field = fault["loc"]
            part: Any = known
            for name in names:
                part = part[name]
            del part[field]
        return DistillationSpec.model_validate(known)


def to_runnable_spec(job: JobRow) -> DistillationSpec:
    """The spec to run. Raises DatabaseUnavailable if it asks for what only a newer version knows: other workers may."""
    try:
        return DistillationSpec.model_validate(job.spec)
    except ValidationError as error:
        raise DatabaseUnavailable(f"job {job.id} was submitted to another version, which this worker cannot run") from error


def to_listed(row: RowMapping) -> ListedJob:
    """The columns `app.db.jobs.LISTED`."""
    return ListedJob(
        id=row["id"],
        dataset_uri=row["dataset_uri"],
        backbone=row["backbone"],
        ipc=row["ipc"],
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
    return tuple(JobWarning(WarningCode(one["code"]), one["message"]) for one in stored or ())


def from_warnings(warnings: Sequence[JobWarning]) -> list[dict[str, str]]:
    return [{"code": one.code.value, "message": one.message} for one in warnings]


def to_artifact(stored: Mapping[str, Any] | None) -> Artifact | None:
    return Artifact(**stored) if stored else None


def from_artifact(artifact: Artifact) -> dict[str, Any]:
    return asdict(artifact)
