"""Transactions. Only this module chooses the kind of database, and nothing else commits."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from alembic import command
from sqlalchemy import Connection, Double, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from app.db import schema, sqlite
from app.db.engines import Engines
from app.db.schema import Fit, Schema
from app.distribution import install_extra
from app.domain.errors import DatabaseUnavailable, PermanentError

SILENCE_SECONDS = 30.0  # longer than any wait for a lock, which must not count as silence
CANNOT_MIGRATE = "the database cannot be opened or migrated: {}; start it, or correct DAPPLE_DATABASE_URL"
LOOKS_LIKE = "one looks like sqlite:////folder/file.sqlite3 or postgresql://USER:PASSWORD@HOST:PORT/NAME"
UNAVAILABLE = (OperationalError, InterfaceError, PoolTimeout)
UNMIGRATED = ("42P01", "42703")  # Postgres: there is no such table, or column; SQLite raises OperationalError
_MIGRATION_LOCK = 0x6461_7070_6C65


class now(FunctionElement[float]):  # noqa: N801 - named like an SQL function, which it is
    """The database's clock as float seconds since the epoch; machines need not agree on time."""

    type: TypeEngine[float] = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_postgresql(*_: Any, **__: Any) -> str:
    return "CAST(extract(epoch from clock_timestamp()) AS double precision)"


def seconds_now(session: Session) -> float:
    """The database's clock in seconds since the epoch."""
    return session.scalars(select(now())).one()


class Database:
    """One database and its pool of connections; safe to share between threads.

    `url` is sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME. Raises PermanentError for any
    other URL, or if the URL is for Postgres and its driver is not installed. A Postgres server that
    sends nothing for `silence_seconds` of a statement counts as gone.
    """

    def __init__(self, url: str, *, silence_seconds: float = SILENCE_SECONDS) -> None:
        self._engines = _engines(url, silence_seconds)

    @contextmanager
    def transaction(self) -> Generator[Session]:
        """A session that commits when the block ends and rolls back if it raises.

        On SQLite it takes the write lock at once, so that a read cannot go stale before the write
        that depends on it. On Postgres, the caller first locks the row that such a read decides
        about (app.db.jobs.lock).

        Raises DatabaseUnavailable if the database does not answer, is locked for too long, or its
        disk is full. If a commit got no answer, it is unknown whether it happened.
        """
        with (
            self._unavailable("the database did not accept the change; try again"),
            Session(self._engines.writing, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def reading(self) -> Generator[Session]:
        """A session over one consistent snapshot, never committed. Raises DatabaseUnavailable."""
        with self._unavailable("the database did not answer; try again"), Session(self._engines.reading) as session:
            yield session

    def ping(self) -> None:
        """Raises DatabaseUnavailable unless the database can be used.

        It must answer, have tables that this version can use, and have room.
        """
        self._engines.check()
        with self.reading() as session:
            found = schema.schema_of(session.connection())
            if found.usable:
                session.execute(text("SELECT 1 FROM jobs LIMIT 1"))  # a damaged file may have its revision but lack its tables
        if not found.usable:
            raise DatabaseUnavailable(f"{found.in_words}: {found.advice}")

    def migrate(self) -> Schema:
        """Migrate the tables to this version, and return their schema.

        If several processes start together, one migrates and the others wait. Tables of a newer
        version are left as they are. Raises PermanentError if this version cannot use them, or
        DatabaseUnavailable.
        """
        self._engines.before_migration()
        config = schema.config()
        try:
            with self._engines.migrating.begin() as connection:
                _exclude_other_migrations(connection)
                found = schema.schema_of(connection)
                if found.fit is Fit.TOO_NEW:
                    raise PermanentError(f"{found.in_words}: {found.advice}")
                if found.fit is not Fit.NEWER:
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")
                return schema.schema_of(connection)
        except DBAPIError as error:
            raise DatabaseUnavailable(
                self._engines.explain(error) or CANNOT_MIGRATE.format(_in_the_drivers_words(error))
            ) from error

    @contextmanager
    def _unavailable(self, message: str) -> Generator[None]:
        try:
            yield
        except (DBAPIError, PoolTimeout) as error:
            explained = self._engines.explain(error)
            if explained or isinstance(error, UNAVAILABLE) or error.connection_invalidated:
                raise DatabaseUnavailable(explained or message, _in_the_drivers_words(error)) from error
            if getattr(getattr(error, "orig", None), "sqlstate", None) in UNMIGRATED:
                raise DatabaseUnavailable("the database has not been migrated to this version") from error
            raise

    def migrate_unless_shared(self) -> None:
        """Migrate a database file on this machine, but only check the tables of a server.

        Others use a server's tables too, so only `dapple migrate` migrates them. Raises
        DatabaseUnavailable or PermanentError if the tables cannot be used afterwards.
        """
        if self._engines.writing.dialect.name == "sqlite":
            self.migrate()
        else:
            self.ping()

    def dispose(self) -> None:
        """Close every pooled connection."""
        self._engines.dispose()


def _engines(url: str, silence_seconds: float) -> Engines:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:  # the error's text may contain the password
        raise PermanentError(f"DAPPLE_DATABASE_URL is not a database URL; {LOOKS_LIKE}") from error
    if parsed.get_backend_name() == "sqlite":
        return sqlite.engines(parsed)
    if parsed.drivername not in ("postgresql", "postgresql+psycopg"):
        raise PermanentError(f"the database must be sqlite:// or postgresql://, not {parsed.drivername}://; {LOOKS_LIKE}")
    try:
        from app.db import postgres
    except ImportError as error:
        raise PermanentError("a postgresql:// database needs psycopg; " + install_extra("postgres")) from error
    return postgres.engines(parsed, silence_seconds)


def _in_the_drivers_words(error: SQLAlchemyError) -> str:
    """The driver's error message on one line, without the statement."""
    return " ".join(str(error.orig if isinstance(error, DBAPIError) else error).split())


def _exclude_other_migrations(connection: Connection) -> None:
    """Make other migrations wait until the transaction ends.

    SQLite needs no action, because BEGIN IMMEDIATE already holds the only write lock.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
