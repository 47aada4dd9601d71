"""One thread, as what is computed here is too small to share; and a database with nothing in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from app.db.session import Database
from app.settings import Settings
from tests.unit.app.stored import new_database


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path, dataset_roots=(tmp_path,), device="cpu", retry_backoff_seconds=0, outage_backoff_seconds=0
    )


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = new_database(settings.data_dir)
    yield database
    database.dispose()
