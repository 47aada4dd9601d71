from collections.abc import Generator
from pathlib import Path

import pytest

from app.db.session import Database
from app.services.resources import Resources
from tests.unit.app.stored import new_database, new_resources


@pytest.fixture
def database(tmp_path: Path) -> Generator[Database]:
    database = new_database(tmp_path)
    yield database
    database.dispose()


@pytest.fixture
def resources(tmp_path: Path) -> Generator[Resources]:
    resources = new_resources(tmp_path)
    yield resources
    resources.database.dispose()
