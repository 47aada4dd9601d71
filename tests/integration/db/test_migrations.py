from collections.abc import Generator
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, NullPool, create_engine, inspect, make_url, text

from app.db import expiry, jobs, leases, schema
from app.db.session import Database
from app.db.tables import Base
from app.domain.job import Outcome, TaskKind
from tests.databases import PostgresServer
from tests.unit.app.stored import SPEC, attempts_of, claimed, states_of

RUNNING_JOB = "01J0000000000000000000000R"
QUEUED_JOB = "01J0000000000000000000000S"


@pytest.fixture
def engine(bare_url: str) -> Generator[Engine]:
    url = make_url(bare_url)
    engine = create_engine(url.set(drivername="postgresql+psycopg") if "postgres" in bare_url else url, poolclass=NullPool)
    yield engine
    engine.dispose()


def change(engine: Engine, use: Any, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        use(config, revision)


def fill_first_tables(connection: Connection) -> None:
    """A running job with a task of every state, and a queued one, as 0001 stored them."""
    for job_id, state in ((RUNNING_JOB, "running"), (QUEUED_JOB, "queued")):
        connection.execute(
            text(
                "INSERT INTO jobs (id, spec, dataset_uri, backbone, state, version, created_at)"
                " VALUES (:id, :spec, 'sklearn://digits', 'embedded/digits', :state, 1, 1)"
            ),
            {"id": job_id, "spec": SPEC.model_dump_json(exclude={"priority"}), "state": state},
        )
    kinds = [("prepare", 0, "succeeded"), ("sample", 0, "running"), ("sample", 1, "ready"), ("package", 0, "waiting")]
    for number, (kind, ordinal, state) in enumerate(kinds):
        _insert_task(connection, f"T{number}", RUNNING_JOB, kind, ordinal, state)
    _insert_task(connection, "U", QUEUED_JOB, "prepare", 0, "ready")
    connection.execute(text("INSERT INTO attempts (task_id, number, worker, started_at) VALUES ('T1', 1, 'w', 1)"))


def _insert_task(connection: Connection, task_id: str, job_id: str, kind: str, ordinal: int, state: str) -> None:
    running = state == "running"
    connection.execute(
        text(
            "INSERT INTO tasks (id, job_id, kind, ordinal, state, input, attempt, failures, token, worker, lease_expires_at,"
            " not_before, done, total) VALUES (:id, :job_id, :kind, :ordinal, :state, '{}', :token, 0, :token, :worker,"
            " :expires, 0, 0, 1)"
        ),
        {"id": task_id, "job_id": job_id, "kind": kind, "ordinal": ordinal, "state": state}
        | {"token": int(running), "worker": "w" if running else None, "expires": 2.0 if running else None},
    )


def test_migrations_make_exactly_the_tables_of_the_code(bare_url: str, engine: Engine) -> None:
    database = Database(bare_url)
    database.migrate()
    database.dispose()
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_columns_have_no_defaults_that_only_a_migration_needed(bare_url: str, engine: Engine) -> None:
    change(engine, command.upgrade, "head")
    columns = [column for table in Base.metadata.tables for column in inspect(engine).get_columns(table)]
    assert [column["name"] for column in columns if column["default"] and "nextval" not in column["default"]] == []


def test_migrations_go_down_and_up_again(engine: Engine) -> None:
    change(engine, command.upgrade, "0001")
    first = inspect(engine).get_columns("tasks")
    change(engine, command.upgrade, "0002")
    change(engine, command.downgrade, "0001")
    assert [column["name"] for column in inspect(engine).get_columns("tasks")] == [column["name"] for column in first]
    assert [index["name"] for index in inspect(engine).get_indexes("tasks")] == ["tasks_claimable", "tasks_of_job"]
    change(engine, command.downgrade, "base")
    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    change(engine, command.upgrade, "head")


def test_an_upgrade_loses_nothing_and_everything_can_be_claimed(bare_url: str, engine: Engine) -> None:
    change(engine, command.upgrade, "0001")
    with engine.begin() as connection:
        fill_first_tables(connection)
    database = Database(bare_url)
    database.migrate()
    assert states_of(database, RUNNING_JOB) == ["succeeded", "running", "ready", "waiting"]
    with database.transaction() as open_session:
        assert leases.claimable(open_session) == {"gpu": 1, "cpu": 1}
        assert expiry.expire(open_session, 0) == 1
        assert [one.outcome for one in attempts_of(open_session, RUNNING_JOB)] == [Outcome.EXPIRED]
    held = [claimed(database) for _ in range(3)]
    assert sorted(lease.task.id for lease in held) == ["T1", "T2", "U"]
    for lease in held[:2]:
        with database.transaction() as open_session:
            leases.finish(open_session, lease, {})
    assert claimed(database).task.kind is TaskKind.PACKAGE
    database.dispose()


@pytest.mark.postgres
def test_keys_sort_as_bytes_under_every_collation(postgres: PostgresServer) -> None:
    url = postgres.new("TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
    database = Database(url)
    database.migrate()
    ids = ["B", "a", "-c", "A1", "A"]
    with database.transaction() as open_session:
        assert open_session.scalar(text("SELECT 'a' < 'B'")) is True
        for job_id in ids:
            jobs.insert(open_session, job_id, SPEC)
    listed: list[str] = []
    cursor: str | None = None
    for _ in ids:
        with database.reading() as open_session:
            found, cursor = jobs.page(open_session, jobs.Filters(), limit=1, cursor=cursor)
        listed += [job.id for job in found]
    assert listed == sorted(ids, reverse=True)
    database.dispose()
