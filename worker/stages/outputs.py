"""What each stage leaves for the stages after it, as typed values; the database keeps them as JSON.

A field with a default may be missing in the output of a task that an earlier version ran.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter

from app.domain.job import Task
from app.domain.spec.evaluation import Arm
from worker.archive.drawn_as import DrawnAs
from worker.evaluation.set_report import ClassReport
from worker.guidance.diagnostics import MedianDistanceSummary, WithoutGradient
from worker.guidance.kernel_guidance import EstimatorError
from worker.references.base import ReferenceReport


@dataclass(frozen=True, kw_only=True)
class StageOutput:
    """`seconds` is how long the stage ran."""

    seconds: float = 0.0

    @property
    def json(self) -> dict[str, Any]:
        """For the database."""
        return asdict(self)


Output = TypeVar("Output", bound=StageOutput)


@dataclass(frozen=True, kw_only=True)
class PrepareOutput(StageOutput):
    """The dataset and the backbone as the job found them.

    `feature_bytes`: what the features of real images take on disk.
    """

    classes: tuple[str, ...]
    dataset_digest: str
    train_images: int
    test_images: int
    bad_files: tuple[str, ...]
    backbone_revision: str
    scheduler: str
    drawn_as: tuple[DrawnAs, ...] = ()
    dataset_revision: str | None = None
    feature_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class ClassReferences(ReferenceReport):
    """The reference report of one class."""

    class_name: str = ""


@dataclass(frozen=True, kw_only=True)
class ComputedOn:
    """The settings of a worker on which the bytes of its images depend."""

    device: str
    threads: int
    dtype: str
    compile: bool
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class SampleOutput(StageOutput):
    """Where the images of a group of classes are stored, and what was measured while they were
    made.

    `guidance_ratio` is |guidance| / |scheduler step| of each step. `set_metrics` leaves out classes
    with too few references.
    """

    arm: Arm
    key: str
    sha256: str | None = None
    guidance_ratio: tuple[float, ...]
    estimator_errors: tuple[EstimatorError, ...]
    median_distance: tuple[MedianDistanceSummary, ...] = ()
    without_gradient: WithoutGradient = field(default_factory=WithoutGradient)
    references: tuple[ClassReferences, ...]
    set_metrics: tuple[ClassReport, ...] = ()
    computed: ComputedOn | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluateOutput(StageOutput):
    """Test accuracies of one arm in percent, one per training seed: after the last iteration, and
    the best on the way.
    """

    arm: Arm
    last: tuple[float, ...]
    best: tuple[float, ...]
    images: int


@dataclass(frozen=True, kw_only=True)
class PackageOutput(StageOutput):
    """`archive` is the key of the archive in the artifact store."""

    archive: str


def output_of(task: Task, kind: type[Output]) -> Output:
    """The output of a finished task. Raises ValueError if it has none."""
    if task.output is None:
        raise ValueError(f"{task.kind} task {task.ordinal} has no output yet")
    return _adapter(kind).validate_python(task.output)


def seconds_of(output: Mapping[str, Any] | None) -> float:
    """How long a finished task ran, whatever its kind."""
    return (output or {}).get("seconds", 0.0)


@cache
def _adapter(kind: type[Output]) -> TypeAdapter[Output]:
    return TypeAdapter(kind)
