"""SQLite in one file: a process has one connection that writes, and up to READERS that read."""

import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event

from app.db.engines import Engines
from app.db.sqlite_file import SqliteFile, primary_code
from app.db.text import escape_parameters, to_json
from app.domain.errors import PermanentError

BUSY_SECONDS = 30.0
LOCKED_PAUSE_SECONDS = 0.01
READERS = 40  # as many as the API has threads


def engines(url: URL) -> Engines:
    """The engines of an SQLite file. Raises PermanentError for any other database.

    The writers of one process queue for one connection. If each writer had its own connection, they
    would poll for the file's lock. A database in memory is refused, because each connection would
    have its own database.
    """
    if url.drivername not in ("sqlite", "sqlite+pysqlite") or not url.database or ":memory:" in url.database or url.query:
        raise PermanentError("an SQLite database must be a file: sqlite:////folder/file.sqlite3; correct DAPPLE_DATABASE_URL")
    file = SqliteFile(Path(url.database).absolute())
    return Engines(
        writing=_engine(url, file, "IMMEDIATE", pool_size=1, max_overflow=0, pool_timeout=BUSY_SECONDS),
        reading=_engine(url, file, "DEFERRED", pool_size=5, max_overflow=READERS - 5),
        migrating=_engine(url, file, "IMMEDIATE", foreign_keys="OFF", poolclass=NullPool),
        explain=file.explain,
        check=file.check_space,
        before_migration=file.warn_if_empty,
    )


def _engine(url: URL, file: SqliteFile, begin: str, *, foreign_keys: str = "ON", **pool: Any) -> Engine:
    """One engine of the file, whose transactions start with BEGIN `begin`.

    Foreign keys are off for migrations: Alembic drops tables and creates them again, which would
    delete rows by cascade.
    """
    # Python's own transaction control would begin late and never IMMEDIATE. isolation_level=None
    # hands the control to us.
    connect = {"timeout": BUSY_SECONDS, "isolation_level": None}
    engine = create_engine(url, connect_args=connect, json_serializer=to_json, **pool)

    def configure(connection: sqlite3.Connection, _record: object) -> None:
        cursor = connection.cursor()
        _write_ahead(cursor)
        for pragma in (f"foreign_keys={foreign_keys}", "synchronous=FULL"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def check_before(_dialect: object, _record: object, _arguments: object, _named: object) -> None:
        file.check_same()  # connecting would replace a lost file by a new one, and wait for the lock of an emptied one

    def check(_connection: object, _record: object, _proxy: object) -> None:
        file.opened()

    def start(connection: Connection) -> None:
        connection.exec_driver_sql(f"BEGIN {begin}")

    event.listen(engine, "do_connect", check_before)
    event.listen(engine, "connect", configure)
    event.listen(engine, "checkout", check)
    event.listen(engine, "begin", start)
    escape_parameters(engine)
    return engine


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """Switch the file to WAL, and retry while it is locked.

    If several connections switch a new file together, SQLite answers "locked" at once instead of
    waiting.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if primary_code(error) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or time.monotonic() >= deadline:
                raise
            time.sleep(LOCKED_PAUSE_SECONDS)
        else:
            return
