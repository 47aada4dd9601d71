"""A bench with random weights that know the digits, and the tasks of a job run one after another on it."""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from app.domain.job import Lease, Progress, Task, TaskKind, TaskState
from app.domain.spec import DistillationSpec
from app.settings import Settings
from app.storage.local import LocalArtifactStore
from tests.unit.worker import tiny
from worker.backbones.registry import BackboneRegistry
from worker.disk_cache import DiskCache
from worker.stages.base import WorkerContext, StageResult, TaskContext
from worker.training.model import save

Stage = Callable[[TaskContext, WorkerContext], StageResult]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "service", dataset_roots=(tmp_path,), device="cpu")


@pytest.fixture
def bench(settings: Settings) -> WorkerContext:
    """Knows the backbone `tiny`: digits of 8 x 8 pixels, three blocks."""
    save(settings.data_dir / "backbones" / "tiny", tiny.transformer(), [str(label) for label in range(10)])
    device = torch.device("cpu")
    backbones = BackboneRegistry(settings.backbone_roots, device)
    cache = DiskCache(settings.cache_dir, settings.cache_bytes)
    return WorkerContext(settings, LocalArtifactStore(settings.artifacts_dir), backbones, device, cache)


class JobAtHand:
    """Runs stages of one job without a database, and keeps what they gave."""

    def __init__(self, job_id: str, bench: WorkerContext, spec: DistillationSpec, scratch: Path) -> None:
        self.id = job_id
        self.bench = bench
        self.spec = spec
        self.ticks: list[tuple[int, int]] = []
        self.finished: dict[TaskKind, list[Task]] = {kind: [] for kind in TaskKind}
        self._scratch = scratch

    def work(self, kind: TaskKind, **task_input: Any) -> TaskContext:
        return TaskContext(Lease(self._task(kind, task_input, None), self.spec, token=1), self.finished, self._scratch, self._tick)

    def run(self, stage: Stage, kind: TaskKind, **task_input: Any) -> StageResult:
        done = stage(self.work(kind, **task_input), self.bench)
        self.finished[kind].append(self._task(kind, task_input, done.output))
        return done

    def _task(self, kind: TaskKind, task_input: Mapping[str, Any], output: Mapping[str, Any] | None) -> Task:
        ordinal = len(self.finished[kind])
        state = TaskState.RUNNING if output is None else TaskState.SUCCEEDED
        return Task(f"{kind}-{ordinal}", self.id, kind, ordinal, state, 1, task_input, Progress(0, 1), output)

    def _tick(self, done: int, total: int) -> None:
        self.ticks.append((done, total))


NewJob = Callable[..., JobAtHand]


@pytest.fixture
def job(bench: WorkerContext, tmp_path: Path) -> NewJob:
    """job(**fields) is a job on the digits with the tiny backbone and two steps, with these fields of the spec changed."""

    ids = (f"job{number}" for number in itertools.count())

    def new(*, scheduler: str = "ddim", steps: int = 2, **fields: Any) -> JobAtHand:
        usual = {"backbone": "tiny", "classes": ("7", "3"), "reference": {"count": 8}}
        spec = tiny.spec(**usual | fields, sampling={"scheduler": scheduler, "steps": steps})
        return JobAtHand(next(ids), bench, spec, tmp_path)

    return new
