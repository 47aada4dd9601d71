import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, select, text
from sqlalchemy.dialects import postgresql

from app.db import jobs, session
from app.db.session import Database, now
from app.db.tables import Base
from app.domain.errors import DatabaseUnavailable, JobNotFound
from tests.unit.app.stored import SPEC


def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.transaction() as session:
        jobs.insert(session, "J", SPEC)
        raise ZeroDivisionError
    with database.reading() as session, pytest.raises(JobNotFound):
        jobs.get(session, "J")


def test_a_reader_keeps_its_snapshot_while_others_write(database: Database) -> None:
    with database.reading() as reader:
        assert jobs.page(reader, jobs.Filters(), limit=9)[0] == []
        with database.transaction() as writer:
            jobs.insert(writer, "J", SPEC)
        assert jobs.page(reader, jobs.Filters(), limit=9)[0] == []


def test_reads_are_never_stored(database: Database) -> None:
    with database.reading() as session:
        jobs.insert(session, "J", SPEC)
    with database.reading() as session, pytest.raises(JobNotFound):
        jobs.get(session, "J")


@pytest.mark.parametrize(("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)])
def test_sqlite_loses_nothing_that_was_accepted(database: Database, pragma: str, value: object) -> None:
    with database.reading() as session:
        assert session.scalar(text(f"PRAGMA {pragma}")) == value


@pytest.mark.parametrize("_again", range(10))
def test_one_of_several_starting_processes_migrates(tmp_path: Path, _again: int) -> None:
    databases = [Database(f"sqlite:///{tmp_path / 'new.sqlite3'}") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Database.migrate, databases))
    for database in databases:
        database.ping()
        database.dispose()


def test_migrations_make_exactly_the_tables_of_the_code(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new.sqlite3'}")
    database.migrate()
    database.dispose()
    engine = create_engine(f"sqlite:///{tmp_path / 'new.sqlite3'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_an_unreachable_database_is_named_as_such(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'missing' / 'x.sqlite3'}")
    for use in (database.ping, database.migrate):
        with pytest.raises(DatabaseUnavailable):
            use()


def test_a_database_without_tables_is_not_ready(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'empty.sqlite3'}")
    with pytest.raises(DatabaseUnavailable):
        database.ping()
    database.dispose()


def test_the_clock_counts_seconds_since_the_epoch(database: Database) -> None:
    with database.reading() as session:
        told = session.scalar(select(now()))
    assert told is not None
    assert abs(told - time.time()) < 60


def test_the_clock_is_the_databases_on_postgres_too() -> None:
    assert "clock_timestamp()" in str(select(now()).compile(dialect=postgresql.dialect()))


def test_migrations_are_found_beside_the_package() -> None:
    assert (session.MIGRATIONS / "env.py").is_file()
