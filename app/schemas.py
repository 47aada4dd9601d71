"""The JSON of the API. Times are RFC 3339 in UTC, sizes in bytes, fractions 0 to 1."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.domain.backbone import Family
from app.domain.job import FailureKind, JobState, Outcome, Phase, Queue, TaskKind, TaskState, WarningCode
from app.domain.spec.job_spec import DEFAULT_BACKBONE, DistillationSpec
from app.domain.spec.sampling import Scheduler

JOB_ID = "01JD8W3V7QY1W7T9Z0H4K2M5N6"
MOMENT = "2026-01-31T12:00:00.25Z"
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


class View(BaseModel):
    model_config = ConfigDict(frozen=True)


class PhaseProgress(View):
    """Work done in one phase, in its own unit."""

    phase: Phase = Field(description="The phase.", examples=[Phase.SAMPLING])
    tasks_done: int = Field(description="Finished tasks of this phase.", examples=[3])
    tasks_total: int = Field(description="Planned tasks of this phase.", examples=[8])
    done: int = Field(description="Finished units: files, sampling steps or classifiers.", examples=[150])
    total: int = Field(description="Planned units.", examples=[400])


class ProgressView(View):
    """The progress of a job. Until `preparing` has ended, it lists only that phase."""

    fraction: float = Field(ge=0, le=1, description="Estimated share of the work done, 0 to 1; never falls.", examples=[0.42])
    phases: tuple[PhaseProgress, ...] = Field(description="The phases known so far, in order.")


class FailureView(View):
    """Why a job or an attempt failed."""

    kind: FailureKind = Field(description="Kind of the fault.", examples=[FailureKind.INVALID_INPUT])
    message: str = Field(description="The fault in words.", examples=["class 'cat' is not in the dataset"])


class WarningView(View):
    """A fact that the user should know about the result."""

    code: WarningCode | str = Field(
        description="Its subject. Newer versions have further codes.", examples=[WarningCode.GUIDANCE_VANISHED]
    )
    message: str = Field(description="The warning in words.", examples=["48 of 50 guided steps had no gradient"])


class ArchiveView(View):
    """The distilled dataset as one file."""

    sha256: str = Field(description="SHA-256 of the archive, hex.", examples=[SHA256])
    size_bytes: int = Field(description="Size in bytes.", examples=[184_320])
    media_type: str = Field(description="Always application/zip.", examples=["application/zip"])


class AttemptView(View):
    """One attempt at a task."""

    kind: TaskKind = Field(description="Kind of task.", examples=[TaskKind.SAMPLE])
    ordinal: int = Field(description="Index of the task among the job's tasks of this kind, from 0.", examples=[0])
    number: int = Field(description="1 for the first attempt.", examples=[1])
    worker: str = Field(description="The worker that ran it.", examples=["embedded:9f86d081:1:4242"])
    started_at: datetime = Field(description="When it started (RFC 3339, UTC).", examples=[MOMENT])
    finished_at: datetime | None = Field(default=None, description="When it ended; null while it runs.", examples=[MOMENT])
    outcome: Outcome | None = Field(default=None, description="How it ended; null while it runs.", examples=[Outcome.SUCCEEDED])
    failure: FailureView | None = Field(default=None, description="Why it failed, else null.")


class TaskView(View):
    """One schedulable part of a job."""

    kind: TaskKind = Field(description="Kind of task.", examples=[TaskKind.SAMPLE])
    ordinal: int = Field(description="Index among the job's tasks of this kind, from 0.", examples=[0])
    state: TaskState = Field(description="Its state.", examples=[TaskState.RUNNING])
    input: Mapping[str, Any] = Field(
        description="For `sample`: the arm and its classes; for `evaluate`: the arm.",
        examples=[{"arm": "guided", "classes": ["0", "1", "2"]}],
    )
    done: int = Field(description="Finished units.", examples=[30])
    total: int = Field(description="Planned units.", examples=[50])


class Links(View):
    """Relative URLs. `archive`, `metrics` and `preview` are null until they exist."""

    self: str = Field(description="The job.", examples=[f"/v1/jobs/{JOB_ID}"])
    events: str = Field(description="Its event stream.", examples=[f"/v1/jobs/{JOB_ID}/events"])
    cancel: str = Field(description="POST here to stop it.", examples=[f"/v1/jobs/{JOB_ID}/cancel"])
    tasks: str = Field(default="", description="Its tasks, page by page.", examples=[f"/v1/jobs/{JOB_ID}/tasks"])
    attempts: str = Field(default="", description="Their attempts, page by page.", examples=[f"/v1/jobs/{JOB_ID}/attempts"])
    archive: str | None = Field(default=None, description="The archive, a zip.", examples=[f"/v1/jobs/{JOB_ID}/archive"])
    metrics: str | None = Field(default=None, description="The metrics.", examples=[f"/v1/jobs/{JOB_ID}/metrics"])
    preview: str | None = Field(default=None, description="A PNG picture.", examples=[f"/v1/jobs/{JOB_ID}/preview.png"])


class JobView(View):
    """A job as its user sees it."""

    id: str = Field(description="Id of the job. Ids sort by creation time.", examples=[JOB_ID])
    state: JobState = Field(
        description="queued, running, cancelling, succeeded, failed, cancelled or expired.", examples=[JobState.RUNNING]
    )
    phase: Phase | None = Field(default=None, description="Phase of a running job, else null.", examples=[Phase.SAMPLING])
    spec: DistillationSpec = Field(description="The spec with all defaults.")
    created_at: datetime = Field(description="When it was submitted (RFC 3339, UTC).", examples=[MOMENT])
    started_at: datetime | None = Field(default=None, description="When its first task started.", examples=[MOMENT])
    finished_at: datetime | None = Field(default=None, description="When it ended, in any state.", examples=[MOMENT])
    progress: ProgressView = Field(description="Its progress.")
    failure: FailureView | None = Field(default=None, description="Why it failed or expired, else null.")
    warnings: tuple[WarningView, ...] = Field(
        default=(), description="Facts to know about the result. Each is also a `job.warning` event."
    )
    archive: ArchiveView | None = Field(default=None, description="The result; null until the job has succeeded.")
    links: Links = Field(description="URLs of its parts.")


class AttemptCounts(View):
    """The number of attempts at the job's tasks."""

    total: int = Field(default=0, description="All attempts, also running ones.", examples=[12])
    failed: int = Field(default=0, description="Attempts that failed or whose worker died.", examples=[1])


class JobDetail(JobView):
    """A job as its user sees it, with the number of attempts at its tasks."""

    attempts: AttemptCounts = Field(default=AttemptCounts(), description="Number of attempts at its tasks.")


class JobSummary(View):
    """A job in a list, without the large fields."""

    id: str = Field(description="Id of the job. Ids sort by creation time.", examples=[JOB_ID])
    state: JobState = Field(description="Its state.", examples=[JobState.RUNNING])
    phase: Phase | None = Field(default=None, description="Phase of a running job, else null.", examples=[Phase.SAMPLING])
    dataset_uri: str = Field(description="The dataset.", examples=["sklearn://digits"])
    backbone: str = Field(description="The diffusion model.", examples=[DEFAULT_BACKBONE])
    ipc: int = Field(description="Synthetic images per class.", examples=[10])
    priority: int = Field(default=0, description="Tasks of jobs with a higher priority start first.", examples=[0])
    created_at: datetime = Field(description="When it was submitted (RFC 3339, UTC).", examples=[MOMENT])
    started_at: datetime | None = Field(default=None, description="When its first task started.", examples=[MOMENT])
    finished_at: datetime | None = Field(default=None, description="When it ended, in any state.", examples=[MOMENT])
    progress: ProgressView = Field(description="Its progress.")
    failure: FailureView | None = Field(default=None, description="Why it failed or expired, else null.")
    warnings: tuple[WarningView, ...] = Field(default=(), description="Facts to know about the result.")
    archive: ArchiveView | None = Field(default=None, description="The result; null until the job has succeeded.")
    links: Links = Field(description="URLs of its parts and of the whole job.")


class JobPage(View):
    """Jobs, newest first. Pass `next_cursor` as `cursor` for the next page."""

    items: tuple[JobSummary, ...] = Field(description="The jobs of this page.")
    next_cursor: str | None = Field(default=None, description="`cursor` of the next page; null on the last.", examples=[JOB_ID])


class TaskPage(View):
    """A job's tasks in the order of the graph."""

    items: tuple[TaskView, ...] = Field(description="The tasks of this page.")
    next_cursor: str | None = Field(
        default=None, description="`cursor` of the next page; null on the last.", examples=["sample:99"]
    )


class AttemptPage(View):
    """Attempts at a job's tasks, oldest first."""

    items: tuple[AttemptView, ...] = Field(description="The attempts of this page.")
    next_cursor: str | None = Field(
        default=None, description="`cursor` of the next page; null on the last.", examples=["1767182400.25:01JD8W3V8S2Z:1"]
    )


class ValidationView(View):
    """The answer to `?validate_only=true`: the spec with all defaults. Nothing is stored."""

    valid: bool = Field(default=True, description="Always true: an invalid spec is answered as a problem.", examples=[True])
    spec: DistillationSpec = Field(description="The spec that the job would have.")


class BackboneView(View):
    """A diffusion model that a job may use."""

    name: str = Field(description="The name for the field `backbone`.", examples=[DEFAULT_BACKBONE])
    family: Family = Field(description="Architecture of the model.", examples=[Family.DIT])
    prompted: bool = Field(
        description="Whether it takes a prompt (`sampling.prompt`); otherwise every class needs one of its labels.",
        examples=[False],
    )
    classes: tuple[str, ...] = Field(
        description="Names of its labels, in order; empty if it takes a prompt.", examples=[["0", "1", "2"]]
    )
    wordnet: bool = Field(
        description="Whether its labels are those of ImageNet-1K; then classes may be WordNet ids.", examples=[False]
    )
    label_count: int = Field(
        default=0,
        description="Number of labels, with or without names. `class_map` may give a label by its number.",
        examples=[10],
    )
    taps: tuple[str, ...] = Field(
        description="Blocks by depth; `guidance.tap` is a name, or a number from 1. Empty if there are many; then their "
        "names follow `tap_pattern`.",
        examples=[["transformer_blocks.0", "transformer_blocks.1"]],
    )
    tap_count: int = Field(default=0, description="Number of blocks.", examples=[6])
    tap_pattern: str | None = Field(
        default=None, description="Pattern of the block names if `taps` is empty.", examples=["transformer_blocks.{0..127}"]
    )
    schedulers: tuple[Scheduler, ...] = Field(
        description="Allowed `sampling.scheduler`; the first is the default.", examples=[[Scheduler.DDPM, Scheduler.DDIM]]
    )
    learned_variance: bool = Field(
        description="Whether it predicts the variance of `ddpm`'s steps (`sampling.variance`).", examples=[False]
    )
    image_size: int = Field(description="Width and height of its images in pixels.", examples=[8])
    channels: int = Field(description="1 for grey images, 3 for colour.", examples=[1])
    weights_bytes: int = Field(description="Size of its weights on disk in bytes.", examples=[4_800_000])


class BackbonePage(View):
    """All usable backbones."""

    items: tuple[BackboneView, ...] = Field(description="The backbones, by name.")


class RunningTaskView(View):
    """The task that a worker runs now."""

    id: str = Field(description="The task.", examples=["01JD8W3V8S2Z4Q6M8N0P2R4T6V"])
    job_id: str = Field(description="Its job.", examples=[JOB_ID])
    kind: TaskKind = Field(description="Kind of task.", examples=[TaskKind.SAMPLE])
    ordinal: int = Field(description="Index among the job's tasks of this kind, from 0.", examples=[0])
    attempt: int = Field(description="1 for the first attempt.", examples=[1])


class WorkerView(View):
    """A process that runs tasks."""

    name: str = Field(description="Unique name of the process.", examples=["gpu-7:4242:9f86d081"])
    queues: tuple[Queue, ...] = Field(description="The queues that it serves.", examples=[[Queue.CPU, Queue.GPU]])
    device: str = Field(description="Its device.", examples=["cuda:0"])
    memory_bytes: int = Field(description="Total memory of its device in bytes.", examples=[85_899_345_920])
    backbones: tuple[str, ...] = Field(description="Backbones in that memory.", examples=[[DEFAULT_BACKBONE]])
    task: RunningTaskView | None = Field(default=None, description="Its running task; null if it is idle.")
    started_at: datetime = Field(description="When it started (RFC 3339, UTC).", examples=[MOMENT])
    seen_at: datetime = Field(description="Time of its last heartbeat.", examples=[MOMENT])


class WorkerPage(View):
    """Every worker with a heartbeat within the last three periods."""

    items: tuple[WorkerView, ...] = Field(description="The workers, by name.")


class HealthView(View):
    """The service can accept jobs; otherwise the answer is a problem."""

    status: Literal["ok", "degraded"] = Field(
        default="ok", description="`degraded`: jobs are accepted, but the store does not answer.", examples=["ok"]
    )
    store: str | None = Field(
        default=None,
        description="Why the artifact store cannot be used; absent if it can.",
        examples=["the artifact store cannot be read: there is no connection to http://store:8333"],
    )


class FieldError(View):
    """The fault of one field."""

    field: str = Field(description="Dotted path of the faulty field.", examples=["guidance.scale"])
    message: str = Field(description="What is wrong, and what the field must be.", examples=["must be at least 0"])


class Problem(View):
    """RFC 9457 application/problem+json."""

    type: str = Field(description="Stable name of the error.", examples=["urn:dapple:problem:invalid-spec"])
    title: str = Field(description="The class of the error in words.", examples=["The job cannot run as requested"])
    status: int = Field(description="The HTTP status.", examples=[422])
    detail: str | None = Field(
        default=None, description="This error in words.", examples=["guidance.scale: must be at least 0"]
    )
    instance: str | None = Field(default=None, description="Path of the request.", examples=["/v1/jobs"])
    errors: tuple[FieldError, ...] = Field(
        default=(), description="The faulty fields, at most 20; long names and messages are shortened."
    )
    errors_left_out: int | None = Field(default=None, description="Number of further faults.", examples=[3])
