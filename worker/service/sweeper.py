"""`dapple sweep`: the periodic upkeep of the database and of the artifact store.

It ends leases and jobs that have run out of time, wakes workers for tasks that are ready, forgets
workers that are gone, and removes stored objects that no row names. Any number of sweepers may run
at once.
"""

import math
import signal
import threading
import time
from collections.abc import Mapping
from typing import Annotated

import structlog
import typer

from app.db import expiry, leases, totals, workers
from app.db.session import Database
from app.domain.errors import DatabaseUnavailable
from app.domain.job import Queue
from app.domain.ports import TaskQueue
from app.log import configure
from app.settings import Settings, settings_from
from app.storage.factory import store_for
from app.wakeup.factory import queue_for
from worker.service.metrics_endpoint import serve
from worker.service.orphaned_artifacts import sweep_orphans, sweep_orphans_until
from worker.service.sweeper_metrics import SweeperMetrics

LONGEST_PAUSE_SECONDS = 2.0
WAKE_AGAIN_SECONDS = 5.0  # between two wake-ups for tasks that no worker has claimed meanwhile
FORGET_SECONDS = 86400.0
FORGET_EVERY_SECONDS = 3600.0
FOLD_EVERY_SECONDS = 60.0

log = structlog.get_logger()


def sweep(
    once: Annotated[bool, typer.Option("--once", help="Run one round only, for example from cron.")] = False,
) -> None:
    """Keep the distributed service going. At least one such process must run; more do no harm.

    SIGTERM ends it.
    """
    settings = settings_from()
    configure(settings.log_level)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    database, queue = Database(settings.sqlalchemy_url), queue_for(settings)
    metrics = SweeperMetrics()
    sweeper, store = Sweeper(settings, database, queue, metrics), store_for(settings)
    if once:
        sweeper.sweep()
        sweep_orphans(database, store, settings.orphan_grace_seconds)
    else:
        serve(metrics.registry, settings)
        # In a thread of its own, because listing a large store takes longer than a lease may wait.
        threading.Thread(target=sweep_orphans_until, args=(stopping, settings, database, store), daemon=True).start()
        sweeper.sweep_until(stopping)
    queue.close()
    database.dispose()


class Sweeper:
    """Checks the database in rounds and does the work that is due."""

    def __init__(self, settings: Settings, database: Database, queue: TaskQueue, metrics: SweeperMetrics | None = None) -> None:
        self._settings = settings
        self._database = database
        self._queue = queue
        self._unclaimed: Mapping[Queue, int] = {}  # the ready tasks of the last round
        self._woken_at = dict.fromkeys(Queue, -math.inf)
        self._forgot_at = self._folded_at = -math.inf
        self._metrics = metrics or SweeperMetrics()

    def sweep_until(self, stopping: threading.Event) -> None:
        """Sweep a few times per lease until `stopping` is set.

        If the database is unavailable, the next round tries again.
        """
        while not stopping.wait(min(self._settings.lease_seconds / 6, LONGEST_PAUSE_SECONDS)):
            try:
                self._metrics.done(self.sweep())
                self._show_life()
            except DatabaseUnavailable as error:
                self._metrics.postponed()
                log.warning("sweep.postponed", reason=error.reason)

    def _show_life(self) -> None:
        """Touch a file whose age a health check may read."""
        self._settings.data_dir.mkdir(parents=True, exist_ok=True)
        (self._settings.data_dir / "swept").touch()

    def sweep(self) -> int:
        """Run one round and return how many leases and jobs it ended.

        Raises DatabaseUnavailable.
        """
        with self._database.transaction() as session:
            ended = expiry.expire(session, self._settings.retry_backoff_seconds)
        if ended:
            log.info("sweep.ended", count=ended)
        self._wake()
        self._tidy()
        return ended

    def _tidy(self) -> None:
        if time.monotonic() - self._forgot_at >= FORGET_EVERY_SECONDS:
            self._forgot_at = time.monotonic()
            with self._database.transaction() as session:
                workers.forget(session, FORGET_SECONDS)
        if time.monotonic() - self._folded_at >= FOLD_EVERY_SECONDS:
            self._folded_at = time.monotonic()
            with self._database.transaction() as session:
                totals.fold(session)

    def _wake(self) -> None:
        """Wake as many workers as there are tasks that may start now.

        Workers are woken at once if the number of such tasks has grown, otherwise every
        WAKE_AGAIN_SECONDS.
        """
        with self._database.reading() as session:
            ready = leases.claimable(session)
            alive = workers.alive_by_queue(session, self._settings.heartbeat_seconds)
        for queue, count in ready.items():
            more = count > self._unclaimed.get(queue, 0)
            if more or (count and time.monotonic() - self._woken_at[queue] >= WAKE_AGAIN_SECONDS):
                self._woken_at[queue] = time.monotonic()
                self._queue.wake(queue, min(count, max(1, alive.get(queue, 0))))
        self._unclaimed = ready
