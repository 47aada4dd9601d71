"""Announces that this worker is alive.

A thread keeps a row in the database fresh for as long as the process lives.
"""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog

from app.db import workers
from app.db.session import Database
from app.domain.errors import DatabaseUnavailable
from app.domain.worker import About

log = structlog.get_logger()


class PresenceHeartbeat:
    """Announces the worker at every heartbeat while the block runs, and removes its row at the end.

    `about` is called for each announcement. `on_beat` is called after each announcement, whether or
    not the database was available.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        about: Callable[[], About],
        *,
        heartbeat_seconds: float,
        on_beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._name = name
        self._about = about
        self._heartbeat_seconds = heartbeat_seconds
        self._on_beat = on_beat
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._announce_until_ended, name="announcement", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        try:
            with self._database.transaction() as session:
                workers.gone(session, self._name)
        except DatabaseUnavailable as error:  # the row ages, and the sweeper removes it
            log.warning("worker.not_taken_back", reason=error.reason)

    def _announce_until_ended(self) -> None:
        while True:
            try:
                with self._database.transaction() as session:
                    workers.announce(session, self._name, self._about())
            except DatabaseUnavailable as error:
                log.warning("worker.not_announced", reason=error.reason)
            except Exception:  # a worker that falls silent is taken for dead
                log.exception("worker.not_announced")
            try:
                self._on_beat()
            except Exception:  # an error of the callback must not end the thread either
                log.exception("worker.beat_failed")
            if self._ended.wait(self._heartbeat_seconds):
                return
