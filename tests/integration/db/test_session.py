import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from app.db import jobs, workers
from app.db.session import Database, now
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
    with suppress(DBAPIError), database.reading() as session:  # Postgres refuses, SQLite forgets
        jobs.insert(session, "J", SPEC)
    with database.reading() as session, pytest.raises(JobNotFound):
        jobs.get(session, "J")


@pytest.mark.parametrize("_again", range(3))
def test_one_of_several_starting_processes_migrates(bare_url: str, _again: int) -> None:
    databases = [Database(bare_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Database.migrate, databases))
    for database in databases:
        database.ping()
        database.dispose()


def test_a_database_without_tables_is_not_ready(bare_url: str) -> None:
    database = Database(bare_url)
    with pytest.raises(DatabaseUnavailable):
        database.ping()
    database.dispose()


def test_the_clock_counts_seconds_since_the_epoch(database: Database) -> None:
    with database.reading() as session:
        told = session.scalar(select(now()))
    assert told is not None
    assert abs(told - time.time()) < 60


def test_tables_that_are_not_there_yet_are_waited_for_as_a_database_that_is_away(bare_url: str) -> None:
    database = Database(bare_url)
    with pytest.raises(DatabaseUnavailable), database.transaction() as session:
        workers.gone(session, "w")
    database.migrate()
    with database.transaction() as session:
        workers.gone(session, "w")
    database.dispose()
