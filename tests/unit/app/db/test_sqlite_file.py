import logging
import os
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.exc import DatabaseError

from app.db import jobs
from app.db.session import Database
from app.db.sqlite_file import SqliteFile
from app.domain.errors import DatabaseUnavailable, PermanentError
from tests.unit.app.stored import SPEC, new_database


def fault(database: Database) -> str:
    """The one sentence with which reading, writing and migrating fail."""
    told: set[str] = set()
    with pytest.raises(DatabaseUnavailable) as caught, database.reading() as session:
        jobs.page(session, jobs.Filters(), limit=1)
    told.add(str(caught.value))
    with pytest.raises(DatabaseUnavailable) as caught, database.transaction() as session:
        jobs.insert(session, "J", SPEC)
    told.add(str(caught.value))
    with pytest.raises(DatabaseUnavailable) as caught:
        database.migrate()
    [sentence] = told | {str(caught.value)}
    database.dispose()
    return sentence


def test_what_is_no_database_is_told_with_its_path_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite3"
    path.write_bytes(b"photo" * 2000)
    told = fault(Database(f"sqlite:///{path}"))
    assert told.startswith(f"{path} is not an SQLite database, or is damaged; stop every process")
    assert "restore it from a copy" in told


def test_damaged_pages_are_told_with_the_path(tmp_path: Path) -> None:
    new_database(tmp_path).dispose()
    path = tmp_path / "dapple.sqlite3"
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    assert fault(Database(f"sqlite:///{path}")).startswith(f"the database file {path} is damaged")


def test_a_folder_in_its_place_is_told_with_the_path(tmp_path: Path) -> None:
    (tmp_path / "x.sqlite3").mkdir()
    assert "its folder must exist and be writable" in fault(Database(f"sqlite:///{tmp_path / 'x.sqlite3'}"))


@pytest.mark.parametrize("harm", ["removed", "replaced", "emptied"])
def test_nothing_is_accepted_into_a_file_that_is_lost(tmp_path: Path, harm: str) -> None:
    database, path = new_database(tmp_path), tmp_path / "dapple.sqlite3"
    with database.transaction() as session:
        jobs.insert(session, "before", SPEC)
    if harm == "emptied":
        os.truncate(path, 0)
    else:
        path.rename(tmp_path / "away")
    if harm == "replaced":
        path.write_bytes((tmp_path / "away").read_bytes())
    words = {"removed": "is gone", "replaced": "another file was put in the place", "emptied": "was emptied"}
    assert words[harm] in fault(database)
    assert path.exists() == (harm != "removed")


def test_a_file_that_comes_back_is_used_again(tmp_path: Path) -> None:
    database, path = new_database(tmp_path), tmp_path / "dapple.sqlite3"
    database.ping()
    path.rename(tmp_path / "away")
    with pytest.raises(DatabaseUnavailable, match="is gone"):
        database.ping()
    (tmp_path / "away").rename(path)
    database.ping()
    database.dispose()


def test_an_empty_file_gets_tables_and_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "x.sqlite3"
    path.touch()
    database = Database(f"sqlite:///{path}")
    with caplog.at_level(logging.WARNING):
        database.migrate()
        database.migrate()
    [told] = [record.getMessage() for record in caplog.records if str(path) in record.getMessage()]
    assert told.startswith(f"the database file {path} is empty and gets new tables; if it had jobs, stop every process")
    database.ping()
    database.dispose()


def test_a_full_disk_is_told_before_a_change_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = SqliteFile(tmp_path / "x.sqlite3")
    file.check_space()
    monkeypatch.setattr("app.db.sqlite_file.LEAST_FREE_BYTES", 1 << 62)
    with pytest.raises(DatabaseUnavailable, match=r"the disk of the database file .*x.sqlite3 has \d+ bytes left; make room"):
        file.check_space()


def test_a_full_disk_is_told_when_a_change_fails(tmp_path: Path) -> None:
    cause = sqlite3.OperationalError("database or disk is full")
    cause.sqlite_errorcode = sqlite3.SQLITE_FULL
    told = SqliteFile(tmp_path / "x").explain(DatabaseError("INSERT", None, cause))
    assert told == f"the disk of the database file {tmp_path / 'x'} is full; make room"


def test_a_lock_passes_by_itself_and_is_not_explained(tmp_path: Path) -> None:
    cause = sqlite3.OperationalError("database is locked")
    cause.sqlite_errorcode = sqlite3.SQLITE_BUSY
    assert SqliteFile(tmp_path / "x").explain(DatabaseError("INSERT", None, cause)) is None


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true", "sqlite+aiosqlite:///x"]
)
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(PermanentError, match="an SQLite database must be a file"):
        Database(url)
