import asyncio
import copy
from collections.abc import Generator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import inspect, make_url, text

from app.cli import main
from app.db import jobs, leases
from app.db.schema import Fit, head, schema_of
from app.db.session import Database
from app.domain.errors import DatabaseUnavailable, PermanentError
from app.domain.worker import Claimant
from app.main import create_app
from app.settings import Settings
from tests.databases import PostgresServer
from tests.unit.app.stored import SPEC, job_of, states_of, submitted

NEWER = "0999"


@pytest.fixture
def migrated(bare_url: str) -> Generator[Database]:
    """A database of its own, as its version is changed."""
    database = Database(bare_url)
    database.migrate()
    yield database
    database.dispose()


def alter(database: Database, revision: str, oldest: str = "0004") -> None:
    """As a migration of another version leaves it."""
    with database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
        session.execute(text("UPDATE installation SET oldest_revision = :oldest"), {"oldest": oldest})


def fit_of(database: Database) -> Fit:
    with database.reading() as session:
        return schema_of(session.connection()).fit


def test_migrated_tables_are_current_and_say_who_may_use_them(migrated: Database) -> None:
    migrated.ping()
    assert fit_of(migrated) is Fit.CURRENT
    with migrated.reading() as session:
        oldest = session.scalar(text("SELECT oldest_revision FROM installation"))
    assert oldest is not None
    assert "0004" <= oldest <= head()


def test_tables_that_only_gained_something_are_used_by_an_older_version(migrated: Database) -> None:
    alter(migrated, NEWER)
    with migrated.transaction() as session:
        session.execute(text("ALTER TABLE jobs ADD COLUMN colour VARCHAR(255)"))
    assert fit_of(migrated) is Fit.NEWER
    migrated.ping()
    assert migrated.migrate().revision == NEWER
    assert states_of(migrated, submitted(migrated)) == ["ready"]


def test_tables_that_need_a_newer_version_are_refused_in_words(migrated: Database) -> None:
    alter(migrated, NEWER, oldest=NEWER)
    assert fit_of(migrated) is Fit.TOO_NEW
    words = rf"newer version \(0999\), which needs 0999 or newer; this one is {head()}: install the newer version"
    with pytest.raises(DatabaseUnavailable, match=words):
        migrated.ping()
    with pytest.raises(PermanentError, match=words):
        migrated.migrate()


def test_older_tables_are_not_ready_until_they_are_migrated(migrated: Database) -> None:
    alter(migrated, "0003")
    with pytest.raises(DatabaseUnavailable, match=r"older version \(0003; this one needs .*run `dapple migrate`"):
        migrated.ping()


def test_a_database_without_tables_says_what_to_run(bare_url: str) -> None:
    database = Database(bare_url)
    with pytest.raises(DatabaseUnavailable, match="no tables yet: run `dapple migrate`"):
        database.ping()
    database.dispose()


@pytest.mark.parametrize("place", ["", "guidance", "sampling"])
def test_a_job_of_a_newer_version_can_be_seen_but_not_run(database: Database, place: str) -> None:
    job_id = submitted(database)
    with database.transaction() as session:
        job = jobs.lock(session, job_id)
        spec = copy.deepcopy(job.spec)
        part: dict[str, Any] = spec[place] if place else spec
        part["colour"] = "blue"
        job.spec = spec
    assert job_of(database, job_id).spec == SPEC
    with database.transaction() as session:
        assert leases.claim(session, Claimant("w"), 60) is None
    assert states_of(database, job_id) == ["ready"]


def settings_for(url: str, folder: object) -> Settings:
    return Settings.model_validate({"data_dir": folder, "database_url": url, "log_level": "CRITICAL"})


@pytest.mark.postgres
def test_the_api_does_not_migrate_a_shared_database(postgres: PostgresServer, tmp_path: object) -> None:
    url = postgres.new()
    app = create_app(settings_for(url, tmp_path))

    async def start() -> None:
        async with app.router.lifespan_context(app):
            pass

    with pytest.raises(SystemExit, match="no tables yet: run `dapple migrate`"):
        asyncio.run(start())
    with app.state.resources.database.reading() as session:
        assert inspect(session.connection()).get_table_names() == []
    app.state.resources.database.dispose()


@pytest.mark.postgres
def test_the_api_serves_a_database_that_a_newer_version_migrated(
    postgres: PostgresServer, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.new()
    monkeypatch.setenv("DAPPLE_DATABASE_URL", url)
    with pytest.raises(SystemExit) as ended:
        main(["migrate"])
    assert ended.value.code == 0
    database = Database(url)
    alter(database, NEWER)
    database.dispose()
    with TestClient(create_app(settings_for(url, tmp_path))) as client:
        assert client.get("/readyz").status_code == 200
        assert client.post("/v1/jobs", json=SPEC.model_dump(mode="json")).status_code == 202


def test_the_api_makes_the_tables_of_a_file_of_its_own(tmp_path: object) -> None:
    url = make_url(f"sqlite:///{tmp_path}/new.sqlite3").render_as_string()
    with TestClient(create_app(settings_for(url, tmp_path))) as client:
        assert client.get("/readyz").status_code == 200
