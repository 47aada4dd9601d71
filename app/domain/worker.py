"""Who runs tasks."""

from dataclasses import dataclass

from app.domain.job import Queue, Task

ALL_QUEUES = frozenset(Queue)


@dataclass(frozen=True)
class Claimant:
    """Who asks for a task: its queues, and what it holds already, so that a task may find its data warm.

    `backbones` are names of models in memory, `dataset_uris` those of datasets in memory or with features on disk.
    A task that has been ready for `patience_seconds` goes before those whose data are warm.
    """

    name: str
    queues: frozenset[Queue] = ALL_QUEUES
    backbones: frozenset[str] = frozenset()
    dataset_uris: frozenset[str] = frozenset()
    patience_seconds: float = 30.0


@dataclass(frozen=True)
class About:
    """What a worker process says of itself; `memory_bytes` is all memory of its device, `backbones` those in it."""

    queues: tuple[Queue, ...]
    device: str
    memory_bytes: int
    backbones: tuple[str, ...] = ()


@dataclass(frozen=True)
class Worker:
    """A worker process and the task it runs now. Times are seconds since the epoch by the database's clock."""

    name: str
    about: About
    task: Task | None
    started_at: float
    seen_at: float
