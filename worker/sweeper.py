"""End what has run out of time: leases of dead workers, jobs past their deadline."""

import threading

import structlog

from app.db import tasks
from app.db.session import Database
from app.domain.errors import DatabaseUnavailable
from app.settings import Settings

log = structlog.get_logger()


def sweep(database: Database, settings: Settings) -> int:
    """How many leases and queued jobs were ended just now."""
    with database.transaction() as session:
        return tasks.expire(session, settings.retry_backoff_seconds)


def sweep_until(stopping: threading.Event, database: Database, settings: Settings) -> None:
    """Sweep a few times per lease until `stopping` is set; a database that is away is tried again."""
    while not stopping.wait(settings.lease_seconds / 6):
        try:
            ended = sweep(database, settings)
        except DatabaseUnavailable as error:
            log.warning("sweep.postponed", reason=str(error))
        else:
            if ended:
                log.info("sweep.ended", count=ended)
