"""The tables. Times are float seconds since the epoch, always by the database's own clock."""

from typing import Any, ClassVar

from sqlalchemy import JSON, Double, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        dict[str, Any]: JSON(none_as_null=True),
        list[dict[str, str]]: JSON(none_as_null=True),
        float: Double,
        str: String(255),
    }


# A key sorts the same under every collation of the server.
_KEY = String(255).with_variant(String(255, collation="C"), "postgresql")


def _where(condition: str) -> dict[str, Any]:
    """The options of a partial index over the rows that meet the condition."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


class JobRow(Base):
    __tablename__ = "jobs"
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012 - SQLAlchemy's name; the row comes back with the database's times

    id: Mapped[str] = mapped_column(_KEY, primary_key=True)  # a ULID: sorts by creation
    spec: Mapped[dict[str, Any]]
    dataset_uri: Mapped[str] = mapped_column(Text)
    backbone: Mapped[str]
    state: Mapped[str] = mapped_column(index=True)
    phase: Mapped[str | None]
    version: Mapped[int]
    created_at: Mapped[float]
    deadline_at: Mapped[float | None]  # the job must have started by then
    must_end_at: Mapped[float | None]  # the end of the job's time limit, known once it has started
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    failure_kind: Mapped[str | None]
    failure_message: Mapped[str | None] = mapped_column(Text)
    archive: Mapped[dict[str, Any] | None]
    preview: Mapped[dict[str, Any] | None]
    metrics: Mapped[dict[str, Any] | None]
    warnings: Mapped[list[dict[str, str]] | None]  # the warnings of its finished tasks, each once
    traceparent: Mapped[str | None]  # W3C trace context of the submission: every task continues it


class TaskRow(Base):
    __tablename__ = "tasks"
    __table_args__ = (
        Index("tasks_ready", "queue", "rank", "id", **_where("state = 'ready'")),
        Index("tasks_running", "id", **_where("state = 'running'")),  # not the lease, so that a renewal touches no index
        Index("tasks_unfinished", "job_id", "id", **_where("state <> 'succeeded'")),
        Index("tasks_of_job", "job_id", "kind", "ordinal", unique=True),
    )

    id: Mapped[str] = mapped_column(_KEY, primary_key=True)
    job_id: Mapped[str] = mapped_column(_KEY, ForeignKey("jobs.id", ondelete="CASCADE"))
    kind: Mapped[str]
    queue: Mapped[str]
    rank: Mapped[int]  # minus the job's priority, so that tasks to claim first sort first
    ordinal: Mapped[int]
    state: Mapped[str]
    input: Mapped[dict[str, Any]]
    output: Mapped[dict[str, Any] | None]
    warnings: Mapped[list[dict[str, str]] | None]  # found by the attempt that succeeded
    attempt: Mapped[int]  # claims so far
    failures: Mapped[int]  # attempts that count against max_attempts
    token: Mapped[int]  # fencing token: grows with every claim and every end of an attempt
    worker: Mapped[str | None]
    lease_expires_at: Mapped[float | None]
    not_before: Mapped[float]
    ready_at: Mapped[float | None]  # when it first began to wait for a claim; unfinished attempts do not reset it
    done: Mapped[int]
    total: Mapped[int]


class AttemptRow(Base):
    __tablename__ = "attempts"

    task_id: Mapped[str] = mapped_column(_KEY, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    worker: Mapped[str]
    started_at: Mapped[float]
    finished_at: Mapped[float | None]
    outcome: Mapped[str | None]
    failure_kind: Mapped[str | None]
    failure_message: Mapped[str | None] = mapped_column(Text)


class EventRow(Base):
    __tablename__ = "events"
    __table_args__ = (Index("events_of_job", "job_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(_KEY, ForeignKey("jobs.id", ondelete="CASCADE"))
    at: Mapped[float]
    type: Mapped[str]
    body: Mapped[dict[str, Any]]


class IdempotencyRow(Base):
    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(_KEY, primary_key=True)
    request_sha256: Mapped[str]
    job_id: Mapped[str] = mapped_column(_KEY, ForeignKey("jobs.id", ondelete="CASCADE"))
    created_at: Mapped[float]


class WorkerRow(Base):
    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(_KEY, primary_key=True)
    about: Mapped[dict[str, Any]]  # queues, device, memory_bytes, backbones
    started_at: Mapped[float]
    seen_at: Mapped[float]


class TotalRow(Base):
    """A part of a counter. The counter is the sum of its rows.

    Rows are only added, and the sweeper folds them. If all workers updated one row, each worker
    would wait for every other while it holds the lock on the row of a job.
    """

    __tablename__ = "totals"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    subject: Mapped[str]  # attempts or jobs
    kind: Mapped[str]  # the task's kind; empty for jobs
    outcome: Mapped[str]
    failure: Mapped[str]  # the failure's kind; empty if nothing failed
    count: Mapped[int]


class InstallationRow(Base):
    """The one row that identifies this database and says which code may use its tables."""

    __tablename__ = "installation"

    id: Mapped[str] = mapped_column(_KEY, primary_key=True)
    oldest_revision: Mapped[str]  # code whose last migration is older than this cannot use the tables
