"""Removes stored objects that no row names.

They come from crashed attempts, from tasks whose job has ended, and from jobs that were only partly
deleted.
"""

import tempfile
import threading
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import structlog

from app.db import artifacts
from app.db.session import Database
from app.domain.errors import ArtifactNotReady, DatabaseUnavailable, StorageUnavailable
from app.domain.ports import ArtifactStore
from app.settings import Settings

JOBS = "jobs/"
OWNER = "installation"
PAGE_KEYS = 250

log = structlog.get_logger()


def sweep_orphans_until(stopping: threading.Event, settings: Settings, database: Database, store: ArtifactStore) -> None:
    """Sweep now and every `orphan_sweep_seconds` until `stopping` is set.

    If the database or the store is unavailable, the next sweep tries again.
    """
    while not stopping.is_set():
        try:
            sweep_orphans(database, store, settings.orphan_grace_seconds)
        except DatabaseUnavailable as error:
            log.warning("orphans.postponed", reason=error.reason)
        except StorageUnavailable as error:
            log.warning("orphans.postponed", reason=str(error))
        stopping.wait(settings.orphan_sweep_seconds)


def sweep_orphans(database: Database, store: ArtifactStore, grace_seconds: float) -> int:
    """Remove orphans and return how many objects were removed.

    Below `jobs/`, all objects of jobs that do not exist are orphans. So are all objects but the
    results of jobs that ended more than `grace_seconds` ago.

    Several processes may sweep at once while jobs are submitted, because the row of a job exists
    before its first object, and rows are read after objects were listed. A store belongs to the
    first database that sweeps it. To another database all its objects would be orphans, so nothing
    is removed then.

    Raises StorageUnavailable, DatabaseUnavailable.
    """
    if not _is_ours(database, store):
        log.warning("orphans.foreign_store", reason=f"the object {OWNER!r} names another database")
        return 0
    removed = store.sweep()
    keys = store.keys(JOBS)
    while page := list(islice(keys, PAGE_KEYS)):
        orphans = _orphans(database, page, grace_seconds)
        store.delete(orphans)
        removed += len(orphans)
    if removed:
        log.info("orphans.removed", count=removed)
    return removed


def _is_ours(database: Database, store: ArtifactStore) -> bool:
    with database.reading() as session:
        ours = artifacts.installation(session)
    try:
        with store.open(OWNER) as stream:
            return stream.read().decode() == ours
    except ArtifactNotReady:
        with tempfile.NamedTemporaryFile() as file:
            file.write(ours.encode())
            file.flush()
            store.put(OWNER, Path(file.name), "text/plain")
        return True


def _orphans(database: Database, keys: Sequence[str], grace_seconds: float) -> list[str]:
    with database.reading() as session:
        kept = artifacts.kept(session, {_job_of(key) for key in keys}, grace_seconds)
    return [key for key in keys if (named := kept.get(_job_of(key), frozenset())) is not None and key not in named]


def _job_of(key: str) -> str:
    return key.split("/")[1]
