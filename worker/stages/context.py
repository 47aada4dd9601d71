"""What a stage receives and returns: frozen values, no database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from app.domain.artifact import Artifact
from app.domain.errors import InvalidSpec
from app.domain.job import JobWarning, Lease, NewTask, Task, TaskKind
from app.domain.ports import ArtifactStore
from app.domain.spec.evaluation import Arm
from app.domain.spec.job_spec import DistillationSpec
from app.settings import Settings
from worker.backbones.base import Backbone
from worker.backbones.registry import BackboneRegistry
from worker.datasets.library import DatasetLibrary
from worker.disk_cache import DiskCache
from worker.progress import ReportProgress
from worker.stages.outputs import EvaluateOutput, PrepareOutput, SampleOutput, StageOutput, output_of


@dataclass(frozen=True)
class WorkerContext:
    """What a worker process keeps between tasks."""

    settings: Settings
    store: ArtifactStore
    backbones: BackboneRegistry
    device: torch.device
    cache: DiskCache

    @cached_property
    def datasets(self) -> DatasetLibrary:
        """The datasets that jobs read."""
        return DatasetLibrary(self.store, self.cache, self.settings)


@dataclass(frozen=True)
class TaskContext:
    """One task to run.

    `earlier` holds the finished tasks of the kinds before it. `scratch` is an empty folder that is
    removed afterwards. `report(done, total)` reports progress and raises when the task must stop.
    """

    lease: Lease
    earlier: Mapping[TaskKind, Sequence[Task]]
    scratch: Path
    report: ReportProgress

    @property
    def spec(self) -> DistillationSpec:
        return self.lease.spec

    @property
    def arm(self) -> Arm:
        """The arm that a sample task or an evaluate task works on."""
        return Arm(self.lease.task.input["arm"])

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that a sample task samples."""
        return tuple(self.lease.task.input["classes"])

    @property
    def planned(self) -> int:
        """The units of work that the plan gives this task."""
        return self.lease.task.progress.total

    def heartbeat(self) -> None:
        """Nothing is done yet. Raises when the task must stop."""
        self.report(0, self.planned)

    @property
    def prepared(self) -> PrepareOutput:
        """The output of the job's `prepare` task."""
        return output_of(self.earlier[TaskKind.PREPARE][0], PrepareOutput)

    def sampled(self, arm: Arm) -> list[SampleOutput]:
        """The outputs of the sample tasks of an arm, in the order of the classes."""
        return [output for output in self.all_sampled if output.arm is arm]

    @property
    def all_sampled(self) -> list[SampleOutput]:
        """The outputs of all sample tasks."""
        return [output_of(task, SampleOutput) for task in self.earlier[TaskKind.SAMPLE]]

    @property
    def evaluated(self) -> list[EvaluateOutput]:
        """The outputs of the evaluate tasks."""
        return [output_of(task, EvaluateOutput) for task in self.earlier[TaskKind.EVALUATE]]

    @property
    def warnings(self) -> tuple[JobWarning, ...]:
        """The warnings of the tasks before this one, in the order of the graph, each once."""
        return tuple(dict.fromkeys(warning for tasks in self.earlier.values() for task in tasks for warning in task.warnings))

    def backbone(self, worker: WorkerContext) -> Backbone:
        """The backbone of the job.

        Raises InvalidSpec if it is no longer the one that `prepare` saw.
        """
        backbone = worker.backbones.get(self.spec.backbone)
        if self.earlier.get(TaskKind.PREPARE) and backbone.revision != self.prepared.backbone_revision:
            raise InvalidSpec.of("backbone", f"{backbone.info.name} changed while the job was running; submit the job again")
        return backbone


@dataclass(frozen=True)
class Publication:
    """What the last task makes visible."""

    archive: Artifact
    preview: Artifact
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class StageResult:
    """The result of a stage: its output, the tasks that follow, and for the last stage what is
    published.

    `samples` counts the images that were sampled. `warnings` are added to those of the job, each
    once.
    """

    output: StageOutput
    then: Sequence[NewTask] = ()
    publication: Publication | None = None
    samples: int = 0
    warnings: Sequence[JobWarning] = ()
