"""Transactions, and the only place that knows which database this is. Nothing else commits."""

import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Double, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from app.domain.errors import DatabaseUnavailable
from app.settings import INSTALLED_AT

MIGRATIONS = INSTALLED_AT / "migrations"
BUSY_SECONDS = 30.0
LOCKED_PAUSE_SECONDS = 0.01
UNAVAILABLE = (OperationalError, PoolTimeout)
_MIGRATION_LOCK = 0x6461_7070_6C65
_BEGIN = "sqlite_begin"


class now(FunctionElement[float]):  # noqa: N801 - reads as the SQL function it is
    """The database's clock as float seconds since the epoch: no two machines need to agree on the time."""

    type: TypeEngine[float] = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_postgresql(*_: Any, **__: Any) -> str:
    return "CAST(extract(epoch from clock_timestamp()) AS double precision)"


class Database:
    """One database and its pool of connections; safe to share between threads."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self._writing = self._engine.execution_options(**{_BEGIN: "IMMEDIATE"})
        self._reading = self._engine.execution_options(**{_BEGIN: "DEFERRED"})

    @contextmanager
    def transaction(self) -> Generator[Session]:
        """A session that commits when the block ends and rolls back if it raises.

        On SQLite it takes the write lock at once, so that a read cannot go stale before the write that depends on it.
        Raises DatabaseUnavailable if the database does not answer, is locked for too long, or its disk is full.
        """
        try:
            with Session(self._writing, expire_on_commit=False) as session, session.begin():
                yield session
        except UNAVAILABLE as error:
            raise DatabaseUnavailable("the database did not accept the change; try again") from error

    @contextmanager
    def reading(self) -> Generator[Session]:
        """A session over one consistent snapshot that is never committed. Raises DatabaseUnavailable."""
        try:
            with Session(self._reading) as session:
                yield session
        except UNAVAILABLE as error:
            raise DatabaseUnavailable("the database did not answer; try again") from error

    def ping(self) -> None:
        """Raises DatabaseUnavailable unless the database answers and has this version's tables."""
        with self.reading() as session:
            session.execute(text("SELECT 1 FROM jobs LIMIT 1"))

    def migrate(self) -> None:
        """Bring the tables to this version; of several processes that start together, one does it and the rest wait."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        try:
            with self._writing.begin() as connection:
                _exclude_other_migrations(connection)
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except OperationalError as error:
            raise DatabaseUnavailable(f"the database cannot be opened or migrated: {error.orig}") from error

    def dispose(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
    # Python's own transaction control would begin late and never IMMEDIATE: isolation_level=None hands it to us.
    engine = create_engine(parsed, connect_args={"timeout": BUSY_SECONDS, "isolation_level": None})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    _write_ahead(cursor)
    for pragma in ("foreign_keys=ON", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


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


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get(_BEGIN, 'DEFERRED')}")


def _exclude_other_migrations(connection: Connection) -> None:
    """SQLite needs nothing: BEGIN IMMEDIATE already holds the one write lock."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
