"""What a job looks like to its user, over HTTP and in the client. Times are RFC 3339 in UTC, sizes bytes, fractions 0 to 1."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.domain.job import FailureKind, JobState, Phase, TaskKind, TaskState
from app.domain.spec import DistillationSpec


class View(BaseModel):
    model_config = ConfigDict(frozen=True)


class PhaseProgress(View):
    """Work done in one phase, in its own unit."""

    phase: Phase = Field(description="Which part of the job.")
    tasks_done: int = Field(description="Finished tasks of this phase.", examples=[3])
    tasks_total: int = Field(description="Planned tasks of this phase.", examples=[8])
    done: int = Field(description="Finished units: sampling steps, training iterations.", examples=[150])
    total: int = Field(description="Planned units.", examples=[400])


class ProgressView(View):
    """How far the job is. The graph is known once `preparing` has ended; before that only that phase is listed."""

    fraction: float = Field(ge=0, le=1, description="Share of all units done, 0 to 1; never falls.", examples=[0.42])
    phases: tuple[PhaseProgress, ...]


class FailureView(View):
    kind: FailureKind = Field(description="What sort of fault.")
    message: str = Field(description="What went wrong, in words.", examples=["class 'cat' is not in the dataset"])


class ArchiveView(View):
    sha256: str = Field(description="SHA-256 of the archive, hex.")
    size_bytes: int = Field(description="Size in bytes.", examples=[184_320])
    media_type: str = Field(description="Always application/zip.", examples=["application/zip"])


class AttemptView(View):
    """One try at one task."""

    kind: TaskKind = Field(description="Kind of task.")
    ordinal: int = Field(description="The task's place among the job's tasks of this kind, from 0.")
    number: int = Field(description="1 for the first try.")
    worker: str = Field(description="Which worker ran it.")
    started_at: datetime
    finished_at: datetime | None = None
    outcome: str | None = Field(None, description="succeeded, failed, cancelled, released or expired; null while it runs.")
    failure: FailureView | None = None


class TaskView(View):
    """One schedulable part of a job."""

    kind: TaskKind
    ordinal: int
    state: TaskState
    input: Mapping[str, Any] = Field(description="For `sample`: the arm and its classes; for `evaluate`: the arm.")
    done: int
    total: int


class Links(View):
    """Relative URLs; `archive`, `metrics` and `preview` are null until they exist."""

    self: str
    events: str
    cancel: str
    archive: str | None = None
    metrics: str | None = None
    preview: str | None = None


class JobView(View):
    """A job as its user sees it."""

    id: str = Field(description="Sorts by creation time.", examples=["01JD8W3V7QY1W7T9Z0H4K2M5N6"])
    state: JobState = Field(description="queued, running, cancelling, succeeded, failed, cancelled or expired.")
    phase: Phase | None = Field(None, description="What a running job is doing.")
    spec: DistillationSpec
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    progress: ProgressView
    failure: FailureView | None = Field(None, description="Why a failed job failed.")
    archive: ArchiveView | None = Field(None, description="The result; null until the job has succeeded.")
    links: Links


class JobDetail(JobView):
    """A job with its tasks and every attempt at them."""

    tasks: tuple[TaskView, ...] = ()
    attempts: tuple[AttemptView, ...] = ()


class JobPage(View):
    """Newest first. Pass `next_cursor` as `cursor` for the following page; null on the last."""

    items: tuple[JobView, ...]
    next_cursor: str | None = None


class ValidationView(View):
    """The answer to `?validate_only=true`: the spec with every default filled in; nothing was stored."""

    valid: bool = True
    spec: DistillationSpec


class BackboneView(View):
    """A diffusion model this service may use."""

    name: str = Field(description="What to put into `backbone`.", examples=["embedded/digits"])
    classes: tuple[str, ...] = Field(description="Class names it was trained on.")
    taps: int = Field(description="Number of transformer blocks; `guidance.tap` is 1 to this.", examples=[6])
    image_size: int = Field(description="Width and height of its images in pixels.", examples=[8])
    channels: int = Field(description="1 for grey images, 3 for colour.", examples=[1])
    weights_bytes: int = Field(description="Size of its weights on disk in bytes.")


class BackbonePage(View):
    items: tuple[BackboneView, ...]


class FieldError(View):
    field: str = Field(description="Dotted path of the offending field.", examples=["guidance.scale"])
    message: str


class Problem(View):
    """RFC 9457 application/problem+json."""

    type: str = Field(description="Stable name of the error.", examples=["urn:dapple:problem:invalid-spec"])
    title: str
    status: int
    detail: str | None = None
    instance: str | None = None
    errors: tuple[FieldError, ...] = ()
