"""A worker that is killed or told to end while it packs: nothing is lost, and the archive keeps its bytes."""

import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from app.db import expiry, leases
from app.db.session import Database
from app.domain.artifact import Artifact
from app.domain.job import JobState, Outcome, TaskKind
from app.domain.plan import later_tasks
from app.domain.spec.evaluation import Arm
from app.domain.spec.job_spec import DistillationSpec
from app.settings import Settings
from app.storage.local import LocalArtifactStore
from tests.unit.app.stored import RecordingQueue, attempts_of, claimed, job_of, new_database, submitted
from worker.backbones.registry import BackboneRegistry
from worker.disk_cache import DiskCache
from worker.service.task_runner import STAGES, TaskRunner
from worker.stages.context import StageResult, TaskContext, WorkerContext
from worker.stages.package import package

ROUNDS = 10
CLASSES, IPC, SIDE = 100, 2, 16
STRIDE = 2 * CLASSES * IPC // ROUNDS
NAMES = [f"class {number}" for number in range(CLASSES)]
CPU = torch.device("cpu")
fork = multiprocessing.get_context("fork")  # what torch takes to load is taken once


@dataclass(frozen=True)
class Strike:
    """A signal to a worker once it has counted so many images: each is counted when it is encoded and when it is written."""

    number: signal.Signals
    at: int


def struck(strike: Strike | None, task: TaskContext, worker: WorkerContext) -> StageResult:
    """The real stage, in a process that sends itself the signal."""

    def report(done: int, total: int) -> None:
        if strike is not None and done >= strike.at:
            os.kill(os.getpid(), strike.number)
        task.report(done, total)

    return package(replace(task, report=report), worker)


class Packing:
    """A database and a store with jobs whose images are sampled, and worker processes that pack them."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(data_dir=folder, device="cpu", progress_seconds=0.01, retry_backoff_seconds=0.0)
        self.store = LocalArtifactStore(self.settings.artifacts_dir)
        new_database(folder).dispose()
        self.scratch = folder / "samples.npz"

    def database(self) -> Database:
        return Database(self.settings.sqlalchemy_url)

    def sampled(self) -> str:
        """Id of a job that is ready to be packed; all of them have the same images."""
        database, spec = self.database(), DistillationSpec(dataset_uri="sklearn://digits", ipc=IPC, max_attempts=10)
        job_id = submitted(database, spec)
        output = {
            "classes": NAMES,
            "dataset_digest": "d",
            "backbone_revision": "r",
            "scheduler": "ddim",
            "train_images": 1,
            "test_images": 1,
            "bad_files": [],
            "seconds": 1.0,
        }
        lease = claimed(database)
        with database.transaction() as session:
            leases.finish(session, lease, output, then=later_tasks(spec, NAMES))
        while (lease := claimed(database)).task.kind is TaskKind.SAMPLE:
            stored = self._store(lease.output_prefix + "samples.npz", lease.task.input["classes"])
            with database.transaction() as session:
                leases.finish(session, lease, self._output(stored))
        with database.transaction() as session:
            leases.release(session, lease)
        database.dispose()
        return job_id

    def _store(self, key: str, names: list[str]) -> Artifact:
        labels = np.repeat([NAMES.index(name) for name in names], IPC)
        rng = np.random.default_rng(labels[0])
        columns = {"images": rng.integers(0, 256, (len(labels), SIDE, SIDE, 3), dtype=np.uint8), "label": labels}
        indices = np.tile(np.arange(IPC), len(names))
        distances = rng.random(len(labels)).astype(np.float32)
        np.savez(self.scratch, **columns, index=indices, rank=indices, seed=labels * IPC + indices, distance=distances)
        return self.store.put(key, self.scratch, "application/x-npz")

    def _output(self, stored: Artifact) -> dict[str, object]:
        counts = dict.fromkeys(("images", "references", "probed", "bytes"), 1)
        about = counts | {"widths": [1], "projection_error_mean": None, "projection_error_max": None}
        return {
            "arm": Arm.GUIDED,
            "key": stored.key,
            "sha256": stored.sha256,
            "guidance_ratio": [0.8],
            "references": [about],
            "estimator_errors": [],
            "seconds": 1.0,
        }

    def work(self, name: str, strike: Strike | None = None) -> None:
        """What a worker process does: it runs tasks until there is none, and ends in order at SIGTERM."""
        stopping = threading.Event()
        signal.signal(signal.SIGTERM, lambda _number, _frame: stopping.set())
        worker = WorkerContext(
            self.settings, self.store, BackboneRegistry((), CPU), CPU, DiskCache(self.settings.cache_dir, 1 << 20)
        )
        runner = TaskRunner(
            self.database(),
            worker,
            RecordingQueue(),
            name=name,
            stopping=stopping,
            stages={**STAGES, TaskKind.PACKAGE: partial(struck, strike)},
        )
        while not stopping.is_set() and runner.run_one():
            pass

    def ran(self, name: str, strike: Strike | None = None) -> int | None:
        """The exit code of a worker process, after its end."""
        process = fork.Process(target=self.work, args=(name, strike))
        process.start()
        process.join()
        return process.exitcode

    def finished(self, job_id: str) -> str:
        """The archive's SHA-256, packed by a worker that nothing disturbs."""
        assert self.ran("last") == 0
        database = self.database()
        job = job_of(database, job_id)
        database.dispose()
        assert job.state is JobState.SUCCEEDED, job.failure
        assert job.archive is not None
        return job.archive.sha256

    def outcomes(self, job_id: str) -> list[Outcome | None]:
        """Of the tries to pack it, after the one that `sampled` gave back."""
        database = self.database()
        with database.reading() as session:
            (package,) = [task.id for task in leases.of_job(session, job_id) if task.kind is TaskKind.PACKAGE]
            found = [one.outcome for one in attempts_of(session, job_id) if one.task_id == package]
        database.dispose()
        return found[1:]

    def expire(self, name: str) -> None:
        """The lease of a killed worker has run out."""
        database = self.database()
        with database.transaction() as session:
            assert expiry.expire_worker(session, name) == 1
        database.dispose()


@pytest.fixture(scope="module")
def packing(tmp_path_factory: pytest.TempPathFactory) -> Packing:
    return Packing(tmp_path_factory.mktemp("packing"))


@pytest.fixture(scope="module")
def undisturbed(packing: Packing) -> str:
    return packing.finished(packing.sampled())


@pytest.mark.parametrize("number", range(ROUNDS))
def test_kill_9_while_packing_loses_no_image(packing: Packing, undisturbed: str, number: int):
    job_id = packing.sampled()
    assert packing.ran("killed", Strike(signal.SIGKILL, 1 + STRIDE * number)) == -signal.SIGKILL
    packing.expire("killed")
    assert packing.finished(job_id) == undisturbed
    assert packing.outcomes(job_id) == [Outcome.EXPIRED, Outcome.SUCCEEDED]


def test_sigterm_while_packing_costs_no_try_and_no_image(packing: Packing, undisturbed: str):
    job_id = packing.sampled()
    for number in range(ROUNDS):
        assert packing.ran(f"ended {number}", Strike(signal.SIGTERM, 1 + STRIDE * number)) == 0
    assert packing.outcomes(job_id) == [Outcome.RELEASED] * ROUNDS
    assert packing.finished(job_id) == undisturbed
