"""Jobs, tasks and leases as frozen values, and the table of a job's state transitions."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.domain.artifact import Artifact
from app.domain.errors import IllegalTransition
from app.domain.spec.job_spec import DistillationSpec
from app.domain.text import printable_lines


class JobState(StrEnum):
    QUEUED = "queued"  # accepted; no worker has begun it
    RUNNING = "running"  # a worker has begun its first task
    CANCELLING = "cancelling"  # its user cancelled it; a running task has yet to stop
    SUCCEEDED = "succeeded"  # its archive can be downloaded
    FAILED = "failed"  # `failure` says why
    CANCELLED = "cancelled"  # its user cancelled it, and no task runs
    EXPIRED = "expired"  # it did not start before its deadline

    @property
    def terminal(self) -> bool:
        return not TRANSITIONS[self]


class Phase(StrEnum):
    PREPARING = "preparing"  # reading the dataset and planning the other tasks
    SAMPLING = "sampling"  # drawing images
    EVALUATING = "evaluating"  # training classifiers on the distilled images and on baselines
    PACKAGING = "packaging"  # writing the archive


class TaskKind(StrEnum):
    PREPARE = "prepare"  # one for each job: reads the dataset and plans the other tasks
    SAMPLE = "sample"  # one for each group of classes: draws their images
    EVALUATE = "evaluate"  # one for each arm: trains and tests its classifiers
    PACKAGE = "package"  # one for each job: writes archive, preview and metrics

    @property
    def phase(self) -> Phase:
        return _PHASES[self]

    @property
    def queue(self) -> "Queue":
        """The queue of the workers that may run it. Only sampling needs a GPU."""
        return Queue.GPU if self is TaskKind.SAMPLE else Queue.CPU


class Queue(StrEnum):
    """The hardware that a task needs. Each worker serves one or both queues."""

    GPU = "gpu"  # tasks that run the diffusion backbone
    CPU = "cpu"  # all other tasks


class TaskState(StrEnum):
    WAITING = "waiting"  # an earlier phase of its job has not ended
    READY = "ready"  # a worker may claim it
    RUNNING = "running"  # a worker holds its lease
    SUCCEEDED = "succeeded"  # its output is stored
    FAILED = "failed"  # it failed and is not tried again
    CANCELLED = "cancelled"  # its job ended before it


class FailureKind(StrEnum):
    INVALID_INPUT = "invalid_input"  # the job cannot run as asked; its user must change it
    OUT_OF_MEMORY = "out_of_memory"  # the device or the machine has too little
    TIMEOUT = "timeout"  # not started, not ended, or no progress within the time allowed
    CRASHED = "crashed"  # the worker process died, or lost its connection to the database
    DEPENDENCY = "dependency"  # a store, a disk or a backbone's files were unavailable
    INTERNAL = "internal"  # an error of the service


class Outcome(StrEnum):
    """How an attempt ended. `failed` and `expired` count against max_attempts.

    `succeeded` also counts, for a sample task, once its stored images are found damaged.
    """

    SUCCEEDED = "succeeded"  # its output was stored
    FAILED = "failed"  # it reported a failure
    CANCELLED = "cancelled"  # its job was cancelled or failed
    RELEASED = "released"  # the task was given back, for example because its worker shut down
    EXPIRED = "expired"  # its worker did not renew the lease in time


class WarningCode(StrEnum):
    """The subject of a job's warning. The job goes on; the warning qualifies its result."""

    GUIDANCE_VANISHED = "guidance_vanished"  # in a class, most guided steps had a zero gradient
    LOW_COVERAGE = "low_coverage"  # the images lie as far from the real ones as noise does
    DATASET_LEFT_OUT = "dataset_left_out"  # some files or folders were not read; it says why
    DATASET_DOUBTFUL = "dataset_doubtful"  # ambiguous, or with more detail than the backbone draws
    EVALUATION_INCOMPLETE = "evaluation_incomplete"  # the accuracies say nothing about some classes
    TEST_LEAKED = "test_leaked"  # pictures of the test split are also in the training split
    CACHE_TOO_SMALL = "cache_too_small"  # the features exceed the worker's cache


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
    """Why a job or an attempt failed. `message` is for the user; it is safe to print."""

    kind: FailureKind
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", _message(self.message))


@dataclass(frozen=True)
class JobWarning:
    """A fact that qualifies a job's result. `message` is safe to store and to print.

    `code` is a plain string if a newer version of Dapple wrote a code that this one does not know.
    """

    code: WarningCode | str
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", _message(self.message))

    @property
    def is_about_the_worker(self) -> bool:
        """Whether it depends on the machine. The archive leaves out such warnings, so that its
        bytes are the same everywhere.
        """
        return self.code == WarningCode.CACHE_TOO_SMALL


def _message(text: str) -> str:
    """The text, printable and not too long: messages of libraries quote file names and data."""
    shown = printable_lines(text)
    return shown if len(shown) <= MOST_CHARACTERS else f"{shown[:MOST_CHARACTERS]}…"


@dataclass(frozen=True)
class Progress:
    """Work units done and planned. A unit is a sampling step, a training iteration or a file."""

    done: int
    total: int


@dataclass(frozen=True)
class Job:
    """A job as stored.

    Times are seconds since the epoch by the database's clock. `version` grows with every change.
    """

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
    """The part of a job that a list shows. It leaves out large columns: spec and metrics."""

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
    """A task to insert. `ordinal` is its index among the job's tasks of the same kind."""

    kind: TaskKind
    ordinal: int
    input: Mapping[str, Any]
    total: int = 1


@dataclass(frozen=True)
class Task:
    """A task as stored. `attempt` is the number of claims so far."""

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
    """One attempt at a task. `outcome` is None while it runs."""

    task_id: str
    number: int
    worker: str
    started_at: float
    finished_at: float | None
    outcome: Outcome | None
    failure: Failure | None


@dataclass(frozen=True)
class Event:
    """A change of a job. `id` grows within the job; `at` is in seconds since the epoch."""

    id: int
    type: str
    at: float
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Lease:
    """The right of one worker to run one task until the lease expires.

    Every write made under the lease carries `token`; the database refuses a stale token.
    `traceparent` is the W3C trace context of the job's submission, or None without tracing.
    """

    task: Task
    spec: DistillationSpec
    token: int
    traceparent: str | None = None

    @property
    def output_prefix(self) -> str:
        """Prefix of the keys that this attempt writes. No other attempt uses the same prefix."""
        return f"jobs/{self.task.job_id}/{self.task.kind}-{self.task.ordinal:04d}/{self.token}/"
