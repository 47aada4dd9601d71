"""Real stores with real rows, for tests of what works on them."""

import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session
from ulid import ULID

from app.db import jobs, leases, queries
from app.db.session import Database
from app.domain.artifact import Artifact
from app.domain.job import Attempt, Job, Lease, NewTask, Queue, TaskKind, TaskState
from app.domain.plan import first_task
from app.domain.spec.job_spec import DistillationSpec
from app.domain.worker import Claimant
from app.services.resources import Resources
from app.settings import Settings
from app.storage.local import LocalArtifactStore


def safetensors(content: bytes) -> bytes:
    """A file of this format with one tensor."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [len(content)], "data_offsets": [0, len(content)]}}).encode()
    return len(header).to_bytes(8, "little") + header + content


WEIGHTS = safetensors(b"weights")
SPEC = DistillationSpec(dataset_uri="sklearn://digits", ipc=10)
ARTIFACT = Artifact("jobs/x/archive.zip", "00" * 32, "application/zip", 3)


class RecordingQueue:
    """A TaskQueue that remembers what it was told."""

    def __init__(self) -> None:
        self.woken: list[tuple[Queue, int]] = []

    def wake(self, queue: Queue, count: int = 1) -> None:
        self.woken.append((queue, count))

    def close(self) -> None:
        pass


@cache
def _migrated() -> Path:
    """A migrated database file, made once: copying it is much faster than migrating."""
    path = Path(tempfile.mkdtemp()) / "template.sqlite3"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    database.dispose()
    return path


def new_database(folder: Path) -> Database:
    shutil.copy(_migrated(), folder / "dapple.sqlite3")
    return Database(f"sqlite:///{folder / 'dapple.sqlite3'}")


def new_resources(folder: Path) -> Resources:
    """Everything in `folder`, with a backbone `tiny` of the ten digits and datasets allowed below `folder/datasets`."""
    (folder / "datasets").mkdir()
    settings = Settings(data_dir=folder, dataset_roots=(folder / "datasets",), log_level="CRITICAL")
    write_backbone(folder / "backbones" / "tiny")
    return Resources(settings, new_database(folder), LocalArtifactStore(settings.artifacts_dir), RecordingQueue())


def submitted(database: Database, spec: DistillationSpec = SPEC) -> str:
    """Id of a new queued job."""
    with database.transaction() as session:
        job = jobs.insert(session, str(ULID()), spec)
        leases.insert(session, job, [first_task()], TaskState.READY)
        return job.id


def claimed(database: Database, worker: str = "w", lease_seconds: float = 60.0) -> Lease:
    with database.transaction() as session:
        lease = leases.claim(session, Claimant(worker), lease_seconds)
    assert lease is not None
    return lease


def prepared(database: Database, samples: int = 2, evaluations: int = 0, spec: DistillationSpec = SPEC) -> str:
    """Id of a running job whose sample tasks are ready."""
    job_id = submitted(database, spec)
    later = [NewTask(TaskKind.SAMPLE, i, {"group": i}, 50) for i in range(samples)]
    later += [NewTask(TaskKind.EVALUATE, i, {"arm": i}, 3) for i in range(evaluations)]
    lease = claimed(database)
    with database.transaction() as session:
        leases.finish(session, lease, {}, then=[*later, NewTask(TaskKind.PACKAGE, 0, {})])
    return job_id


def succeeded(database: Database, archive: Artifact = ARTIFACT, preview: Artifact = ARTIFACT) -> str:
    """Id of a job that has run through."""
    job_id = prepared(database, samples=1)
    sample = claimed(database)
    with database.transaction() as session:
        leases.finish(session, sample, {})
    package = claimed(database)
    with database.transaction() as session:
        leases.complete(session, package, {}, archive=archive, preview=preview, metrics={"guided": {"mean": 97.1}})
    return job_id


def job_of(database: Database, job_id: str) -> Job:
    with database.reading() as session:
        return jobs.get(session, job_id)


def states_of(database: Database, job_id: str) -> list[str]:
    """The states of the job's tasks in the order of the graph."""
    with database.reading() as session:
        return [task.state.value for task in leases.of_job(session, job_id)]


def write_backbone(folder: Path, names: tuple[str, ...] = tuple("0123456789"), **transformer: int) -> None:
    """A folder that looks like a diffusers DiTPipeline; its weights are no weights."""
    labels = {str(label): name for label, name in enumerate(names)}
    write_json(folder / "model_index.json", _class_name="DiTPipeline", id2label=labels)
    shape: dict[str, Any] = {
        "num_layers": 6,
        "sample_size": 8,
        "in_channels": 1,
        "num_embeds_ada_norm": len(names),
    } | transformer
    write_component(folder / "transformer", **shape)
    write_json(folder / "scheduler" / "scheduler_config.json", _class_name="DDIMScheduler")


def write_stable_diffusion(folder: Path, **unet: Any) -> None:
    """A folder that looks like a diffusers StableDiffusionPipeline of two down blocks, for images of 16 pixels."""
    write_json(folder / "model_index.json", _class_name="StableDiffusionPipeline")
    blocks = ["CrossAttnDownBlock2D", "DownBlock2D"]
    shape = {"sample_size": 8, "in_channels": 4, "down_block_types": blocks, "cross_attention_dim": 32}
    write_component(folder / "unet", **(shape | unet))
    write_component(folder / "vae", block_out_channels=[32, 64], latent_channels=4)
    write_json(folder / "scheduler" / "scheduler_config.json", _class_name="PNDMScheduler")
    _write_text_encoder(folder, "", "vocab.json", "merges.txt")


def write_stable_diffusion_3(folder: Path, *, third: bool = True) -> None:
    """A folder that looks like a diffusers StableDiffusion3Pipeline of three blocks, for images of 16 pixels."""
    write_json(folder / "model_index.json", _class_name="StableDiffusion3Pipeline")
    write_component(folder / "transformer", num_layers=3, sample_size=4, in_channels=16)
    write_component(folder / "vae", block_out_channels=[8, 8, 8], latent_channels=16)
    write_json(folder / "scheduler" / "scheduler_config.json", _class_name="FlowMatchEulerDiscreteScheduler")
    _write_text_encoder(folder, "", "vocab.json", "merges.txt")
    _write_text_encoder(folder, "_2", "tokenizer.json")
    if third:
        _write_text_encoder(folder, "_3", "tokenizer.json")


def write_component(folder: Path, *, weights: str = "diffusion_pytorch_model", **config: Any) -> None:
    """A model's configuration beside weights that are none."""
    write_json(folder / "config.json", **config)
    (folder / f"{weights}.safetensors").write_bytes(WEIGHTS)


def write_json(file: Path, **fields: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(fields))


def _write_text_encoder(folder: Path, suffix: str, *vocabulary: str) -> None:
    write_component(folder / f"text_encoder{suffix}", weights="model")
    (folder / f"tokenizer{suffix}").mkdir()
    for file in vocabulary:
        (folder / f"tokenizer{suffix}" / file).write_text("{}")


def attempts_of(session: Session, job_id: str) -> list[Attempt]:
    """Every attempt at the job's tasks, oldest first."""
    return [one.attempt for one in queries.attempts(session, job_id, limit=1000)]
