"""Workers: what one says about itself, and what it offers when it claims a task."""

from dataclasses import dataclass

from app.domain.job import Queue, Task

ALL_QUEUES = frozenset(Queue)


@dataclass(frozen=True)
class Claimant:
    """A worker that claims a task: the queues that it serves, and the data that it holds.

    `backbones` names the models in its memory. `dataset_uris` names the datasets in its memory and
    those whose features are on its disk. The claim prefers tasks that use such data, unless
    another task has been ready for `patience_seconds`.
    """

    name: str
    queues: frozenset[Queue] = ALL_QUEUES
    backbones: frozenset[str] = frozenset()
    dataset_uris: frozenset[str] = frozenset()
    patience_seconds: float = 30.0


@dataclass(frozen=True)
class About:
    """What a worker process announces. `memory_bytes` is the total memory of its device;
    `backbones` names the models in it.
    """

    queues: tuple[Queue, ...]
    device: str
    memory_bytes: int
    backbones: tuple[str, ...] = ()


@dataclass(frozen=True)
class Worker:
    """A worker process and its running task.

    Times are seconds since the epoch by the database's clock.
    """

    name: str
    about: About
    task: Task | None
    started_at: float
    seen_at: float
