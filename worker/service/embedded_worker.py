"""The embedded worker: a child process of `dapple up` that polls the database for tasks."""

import os
import signal
import sys
import threading
from functools import partial

from app.db.session import Database
from app.log import configure
from app.settings import Settings
from app.startup_errors import ending_in_words
from app.storage.factory import store_for
from app.wakeup.factory import queue_for
from worker.service.orphaned_artifacts import sweep_orphans_until
from worker.service.sweeper import Sweeper
from worker.service.sweeper_metrics import SweeperMetrics
from worker.service.worker_process import WorkerProcess


@ending_in_words()
def main() -> None:
    """Run tasks until SIGTERM, SIGINT, or the end of standard input.

    Standard input ends with the parent, so the child does not outlive it.
    """
    settings = Settings()
    configure(settings.log_level, worker=worker_name())
    database, queue = Database(settings.sqlalchemy_url), queue_for(settings)
    with WorkerProcess(settings, database, queue, name=worker_name()) as process:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: process.stopping.set())
        tidy = partial(sweep_orphans_until, settings=settings, database=database, store=store_for(settings))
        sweeper = Sweeper(settings, database, queue, SweeperMetrics(process.registry))
        for target in (_stop_with_parent, sweeper.sweep_until, tidy):
            threading.Thread(target=target, args=(process.stopping,), daemon=True).start()
        while not process.stopping.is_set():
            process.drain()
            process.stopping.wait(settings.poll_seconds)
    database.dispose()


def worker_name() -> str:
    """The name of this process, which no other process has.

    The supervisor gives its child the first part of the name, so that it can end the leases of a
    dead child.
    """
    return f"{os.environ.get('DAPPLE_WORKER_NAME', 'worker')}:{os.getpid()}"


def _stop_with_parent(stopping: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stopping.set()


if __name__ == "__main__":
    main()
