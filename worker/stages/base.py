"""What a stage gets and gives: frozen values, no database."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from app.domain.artifact import Artifact
from app.domain.errors import InvalidSpec
from app.domain.job import JobWarning, Lease, NewTask, Task, TaskKind
from app.domain.ports import ArtifactStore
from app.domain.spec import DistillationSpec
from app.settings import Settings
from worker.backbones.base import Backbone
from worker.backbones.registry import BackboneRegistry
from worker.datasets.cache import DatasetCache
from worker.disk_cache import DiskCache

Tick = Callable[[int, int], None]


@dataclass(frozen=True)
class WorkerContext:
    """What a worker process keeps between tasks."""

    settings: Settings
    store: ArtifactStore
    backbones: BackboneRegistry
    device: torch.device
    cache: DiskCache
    datasets: DatasetCache = field(default_factory=DatasetCache)


@dataclass(frozen=True)
class TaskContext:
    """One task to run.

    `earlier` holds the finished tasks of the kinds before it; `scratch` is an empty folder that vanishes afterwards;
    `tick(done, total)` reports progress and raises when the task must stop.
    """

    lease: Lease
    earlier: Mapping[TaskKind, Sequence[Task]]
    scratch: Path
    tick: Tick

    @property
    def spec(self) -> DistillationSpec:
        return self.lease.spec

    @property
    def input(self) -> Mapping[str, Any]:
        return self.lease.task.input

    @property
    def prepared(self) -> Mapping[str, Any]:
        """The output of the job's `prepare` task."""
        return output_of(self.earlier[TaskKind.PREPARE][0])

    @property
    def warnings(self) -> tuple[JobWarning, ...]:
        """Those of the tasks before this one, in the order of the graph, each once."""
        return tuple(dict.fromkeys(one for tasks in self.earlier.values() for task in tasks for one in task.warnings))

    def backbone(self, bench: WorkerContext) -> Backbone:
        """The job's backbone. Raises InvalidSpec if it is no longer the one that `prepare` saw."""
        backbone = bench.backbones.get(self.spec.backbone)
        if self.earlier.get(TaskKind.PREPARE) and backbone.revision != self.prepared["backbone_revision"]:
            raise InvalidSpec.of("backbone", f"{backbone.name} changed while the job was running; submit the job again")
        return backbone


@dataclass(frozen=True)
class Publication:
    """What the last task makes visible."""

    archive: Artifact
    preview: Artifact
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class StageResult:
    """A stage's result: a JSON-able output, the tasks that follow, and for the last stage what is published.

    `samples` counts the images that were sampled. `warnings` are added to the job's, each once.
    """

    output: Mapping[str, Any]
    then: Sequence[NewTask] = ()
    publication: Publication | None = None
    samples: int = 0
    warnings: Sequence[JobWarning] = ()


def output_of(task: Task) -> Mapping[str, Any]:
    """The output of a finished task."""
    if task.output is None:
        raise ValueError(f"{task.kind} task {task.ordinal} has no output yet")
    return task.output
