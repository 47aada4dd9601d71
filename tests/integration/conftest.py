"""A service on a real database and real files, asked through its real ASGI interface."""

from collections.abc import Generator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.services.resources import Resources
from app.settings import Settings
from tests.unit.app.stored import write_backbone


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "datasets").mkdir()
    write_backbone(tmp_path / "data" / "backbones" / "tiny")
    return Settings(data_dir=tmp_path / "data", dataset_roots=(tmp_path / "datasets",), log_level="CRITICAL")


@pytest.fixture
def client(settings: Settings) -> Generator[TestClient]:
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def resources(client: TestClient) -> Resources:
    return client.app.state.resources  # type: ignore[attr-defined]
