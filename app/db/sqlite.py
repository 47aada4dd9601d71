"""SQLite in one file: one writer at a time per process, any number of readers beside it."""

import sqlite3
import time
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event

from app.db.engines import Engines
from app.db.text import escape_parameters, to_json

BUSY_SECONDS = 30.0
LOCKED_PAUSE_SECONDS = 0.01
READERS = 40  # as many as the API has threads


def engines(url: URL) -> Engines:
    """Writers of one process queue for their one connection: where each had its own, they would poll for the file's lock."""
    return Engines(
        writing=_engine(url, "IMMEDIATE", pool_size=1, max_overflow=0, pool_timeout=BUSY_SECONDS),
        reading=_engine(url, "DEFERRED", pool_size=5, max_overflow=READERS - 5),
        migrating=_engine(url, "IMMEDIATE", foreign_keys="OFF", poolclass=NullPool),
    )


def _engine(url: URL, begin: str, *, foreign_keys: str = "ON", **pool: Any) -> Engine:
    """Foreign keys are off where tables are migrated: Alembic drops and makes them again, which would delete by cascade."""
    # Python's own transaction control would begin late and never IMMEDIATE: isolation_level=None hands it to us.
    connect = {"timeout": BUSY_SECONDS, "isolation_level": None}
    engine = create_engine(url, connect_args=connect, json_serializer=to_json, **pool)

    def configure(connection: sqlite3.Connection, _record: object) -> None:
        cursor = connection.cursor()
        _write_ahead(cursor)
        for pragma in (f"foreign_keys={foreign_keys}", "synchronous=FULL"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def start(connection: Connection) -> None:
        connection.exec_driver_sql(f"BEGIN {begin}")

    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", start)
    escape_parameters(engine)
    return engine


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """SQLite answers "locked" at once where several switch a new file to WAL together: for this it does not wait."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(LOCKED_PAUSE_SECONDS)
        else:
            return
