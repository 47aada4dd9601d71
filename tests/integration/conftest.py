"""A service on a real database and real files, asked through its real ASGI interface."""

from collections.abc import Generator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.db.session import Database
from app.main import create_app
from app.services.resources import Resources
from app.settings import Settings
from tests.databases import KINDS, PostgresServer
from tests.unit.app.stored import new_database, write_backbone


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Of database: every test that uses one runs on each."""
    return request.param


@pytest.fixture
def database_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database with tables and no rows."""
    if kind == "sqlite":
        new_database(tmp_path).dispose()
        return f"sqlite:///{tmp_path / 'dapple.sqlite3'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.migrated()


@pytest.fixture
def bare_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database without tables."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'bare.sqlite3'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new()


@pytest.fixture
def database(database_url: str) -> Generator[Database]:
    database = Database(database_url)
    yield database
    database.dispose()


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    (tmp_path / "datasets").mkdir()
    write_backbone(tmp_path / "data" / "backbones" / "tiny")
    return Settings(
        data_dir=tmp_path / "data",
        database_url=database_url,
        dataset_roots=(tmp_path / "datasets",),
        log_level="CRITICAL",
    )


@pytest.fixture
def client(settings: Settings) -> Generator[TestClient]:
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def resources(client: TestClient) -> Resources:
    return client.app.state.resources  # type: ignore[attr-defined]
