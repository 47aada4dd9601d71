"""The resources that every use case works with."""

from dataclasses import dataclass

from app.db.session import Database
from app.domain.ports import ArtifactStore, TaskQueue
from app.settings import Settings


@dataclass(frozen=True)
class Resources:
    """The external resources of one process, built once in its composition root."""

    settings: Settings
    database: Database
    store: ArtifactStore
    queue: TaskQueue
