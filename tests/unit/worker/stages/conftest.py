"""A worker with random weights that know the digits, and the tasks of a job run one after another on it."""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from app.domain.job import Lease, Progress, Task, TaskKind, TaskState
from app.domain.spec.job_spec import DistillationSpec
from app.settings import Settings
from app.storage.local import LocalArtifactStore
from tests.unit.worker import tiny
from worker.backbones.registry import BackboneRegistry
from worker.disk_cache import DiskCache
from worker.stages.context import StageResult, TaskContext, WorkerContext
from worker.training.model import save

Stage = Callable[[TaskContext, WorkerContext], StageResult]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "service", dataset_roots=(tmp_path,), device="cpu")


@pytest.fixture
def worker(settings: Settings) -> WorkerContext:
    """Knows the backbone `tiny`: digits of 8 x 8 pixels, three blocks."""
    save(settings.data_dir / "backbones" / "tiny", tiny.transformer(), [str(label) for label in range(10)])
    device = torch.device("cpu")
    backbones = BackboneRegistry(settings.backbone_roots, device)
    cache = DiskCache(settings.cache_dir, settings.cache_bytes)
    return WorkerContext(settings, LocalArtifactStore(settings.artifacts_dir), backbones, device, cache)


class JobAtHand:
    """Runs stages of one job without a database, and keeps what they gave."""

    def __init__(self, job_id: str, worker: WorkerContext, spec: DistillationSpec, scratch: Path) -> None:
        self.id = job_id
        self.worker = worker
        self.spec = spec
        self.reports: list[tuple[int, int]] = []
        self.finished: dict[TaskKind, list[Task]] = {kind: [] for kind in TaskKind}
        self._scratch = scratch

    def context(self, kind: TaskKind, **task_input: Any) -> TaskContext:
        return TaskContext(
            Lease(self._task(kind, task_input, None), self.spec, token=1), self.finished, self._scratch, self._report
        )

    def run(self, stage: Stage, kind: TaskKind, **task_input: Any) -> StageResult:
        done = stage(self.context(kind, **task_input), self.worker)
        self.finished[kind].append(self._task(kind, task_input, done.output.json))
        return done

    def _task(self, kind: TaskKind, task_input: Mapping[str, Any], output: Mapping[str, Any] | None) -> Task:
        ordinal = len(self.finished[kind])
        state = TaskState.RUNNING if output is None else TaskState.SUCCEEDED
        return Task(f"{kind}-{ordinal}", self.id, kind, ordinal, state, 1, task_input, Progress(0, 1), output)

    def _report(self, done: int, total: int) -> None:
        self.reports.append((done, total))


NewJob = Callable[..., JobAtHand]


@pytest.fixture
def job(worker: WorkerContext, tmp_path: Path) -> NewJob:
    """job(**fields) is a job on the digits with the tiny backbone and two steps, with these fields of the spec changed."""

    ids = (f"job{number}" for number in itertools.count())

    def new(*, scheduler: str = "ddim", steps: int = 2, **fields: Any) -> JobAtHand:
        usual = {"backbone": "tiny", "classes": ("7", "3"), "reference": {"count": 8}}
        spec = tiny.spec(**usual | fields, sampling={"scheduler": scheduler, "steps": steps})
        return JobAtHand(next(ids), worker, spec, tmp_path)

    return new
