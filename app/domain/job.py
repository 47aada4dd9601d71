"""Jobs, tasks and leases as frozen values, and the one table of what may follow what."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.domain.artifact import Artifact
from app.domain.errors import IllegalTransition
from app.domain.spec.job_spec import DistillationSpec
from app.domain.text import printable_lines


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        return not TRANSITIONS[self]


class Phase(StrEnum):
    PREPARING = "preparing"
    SAMPLING = "sampling"
    EVALUATING = "evaluating"
    PACKAGING = "packaging"


class TaskKind(StrEnum):
    PREPARE = "prepare"
    SAMPLE = "sample"
    EVALUATE = "evaluate"
    PACKAGE = "package"

    @property
    def phase(self) -> Phase:
        return _PHASES[self]

    @property
    def queue(self) -> "Queue":
        """Only sampling is worth a GPU: nothing else may hold one."""
        return Queue.GPU if self is TaskKind.SAMPLE else Queue.CPU


class Queue(StrEnum):
    """What a worker must be able to do to run a task."""

    GPU = "gpu"
    CPU = "cpu"


class TaskState(StrEnum):
    WAITING = "waiting"
    READY = "ready"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class FailureKind(StrEnum):
    INVALID_INPUT = "invalid_input"  # the job cannot run as asked; its user must change it
    OUT_OF_MEMORY = "out_of_memory"  # the device or the machine has too little
    TIMEOUT = "timeout"  # not started, not ended, or no progress within the time allowed
    CRASHED = "crashed"  # the worker process died, or lost its connection to the database
    DEPENDENCY = "dependency"  # a store, a disk or a backbone's files were not there
    INTERNAL = "internal"  # an error of the service


class Outcome(StrEnum):
    """How an attempt ended. Only `failed` and `expired` count against max_attempts."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RELEASED = "released"
    EXPIRED = "expired"


class WarningCode(StrEnum):
    """What a warning of a job is about. The job goes on; its user should look at the result with this in mind."""

    GUIDANCE_VANISHED = "guidance_vanished"  # most guided steps had no gradient: the set is hardly guided
    LOW_COVERAGE = "low_coverage"  # the images lie far from the real ones, as noise does
    DATASET_LEFT_OUT = "dataset_left_out"  # files or folders of the dataset that were not read, and why
    DATASET_DOUBTFUL = "dataset_doubtful"  # how the dataset was understood, where it could be read otherwise
    EVALUATION_INCOMPLETE = "evaluation_incomplete"  # the accuracies do not speak of every class
    CACHE_TOO_SMALL = "cache_too_small"  # the features of the real images do not fit into the worker's cache


_PHASES = dict(zip(TaskKind, Phase, strict=True))

TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED, JobState.EXPIRED, JobState.FAILED}),
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLING}),
    JobState.CANCELLING: frozenset({JobState.CANCELLED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
    JobState.EXPIRED: frozenset(),
}


def check_transition(before: JobState, after: JobState) -> None:
    """Raises IllegalTransition unless `after` may follow `before`."""
    if after not in TRANSITIONS[before]:
        raise IllegalTransition(f"a job that is {before} cannot become {after}")


MOST_CHARACTERS = 10_000  # of a message


@dataclass(frozen=True)
class Failure:
    """Why a job or an attempt failed; `message` is meant for the user, and safe to store and to print."""

    kind: FailureKind
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", _message(self.message))


@dataclass(frozen=True)
class JobWarning:
    """What the user of a job should know beside its result; `message` is meant for them, and safe to store and to print.

    `code` is a plain text where a newer version gave it.
    """

    code: WarningCode | str
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", _message(self.message))

    @property
    def is_about_the_worker(self) -> bool:
        """Whether another machine might not warn: such a warning is no part of the archive."""
        return self.code == WarningCode.CACHE_TOO_SMALL


def _message(text: str) -> str:
    """Libraries put file names and other text from outside into theirs, sometimes without end."""
    shown = printable_lines(text)
    return shown if len(shown) <= MOST_CHARACTERS else f"{shown[:MOST_CHARACTERS]}…"


@dataclass(frozen=True)
class Progress:
    """Work units done of those planned; a unit is one sampling step, one training iteration, one file."""

    done: int
    total: int


@dataclass(frozen=True)
class Job:
    """A job as stored. Times are seconds since the epoch by the database's clock; `version` grows with every change."""

    id: str
    spec: DistillationSpec
    state: JobState
    phase: Phase | None
    version: int
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    failure: Failure | None = None
    archive: Artifact | None = None
    preview: Artifact | None = None
    metrics: Mapping[str, Any] | None = None
    warnings: tuple[JobWarning, ...] = ()


@dataclass(frozen=True)
class ListedJob:
    """What a list shows of a job: what is large, such as its spec and metrics, is not read for it."""

    id: str
    dataset_uri: str
    backbone: str
    ipc: int
    priority: int
    state: JobState
    phase: Phase | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    failure: Failure | None
    warnings: tuple[JobWarning, ...]
    archive: Artifact | None
    has_metrics: bool
    has_preview: bool


@dataclass(frozen=True)
class NewTask:
    """A task to insert: `ordinal` is its place among the job's tasks of the same kind."""

    kind: TaskKind
    ordinal: int
    input: Mapping[str, Any]
    total: int = 1


@dataclass(frozen=True)
class Task:
    """A task as stored; `attempt` counts the claims so far."""

    id: str
    job_id: str
    kind: TaskKind
    ordinal: int
    state: TaskState
    attempt: int
    input: Mapping[str, Any]
    progress: Progress
    output: Mapping[str, Any] | None = None
    warnings: tuple[JobWarning, ...] = ()


@dataclass(frozen=True)
class Attempt:
    """One try at a task; `outcome` is None while it runs."""

    task_id: str
    number: int
    worker: str
    started_at: float
    finished_at: float | None
    outcome: Outcome | None
    failure: Failure | None


@dataclass(frozen=True)
class Event:
    """Something that happened to a job; `id` grows within the job, `at` is in seconds since the epoch."""

    id: int
    type: str
    at: float
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Lease:
    """The right to run one task until it expires; `token` fences every write made under it.

    `traceparent` is the W3C trace context of the job's submission, if that was traced.
    """

    task: Task
    spec: DistillationSpec
    token: int
    traceparent: str | None = None

    @property
    def output_prefix(self) -> str:
        """Where this attempt may write: no other attempt, earlier or later, uses the same keys."""
        return f"jobs/{self.task.job_id}/{self.task.kind}-{self.task.ordinal:04d}/{self.token}/"
