import sys
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.dialects import postgresql

from app.db import schema
from app.db.session import Database, now
from app.domain.errors import DatabaseUnavailable, PermanentError


@pytest.mark.parametrize(("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)])
def test_sqlite_loses_nothing_that_was_accepted(database: Database, pragma: str, value: object) -> None:
    with database.reading() as session:
        assert session.scalar(text(f"PRAGMA {pragma}")) == value


def test_the_clock_is_the_databases_on_postgres_too() -> None:
    assert "clock_timestamp()" in str(select(now()).compile(dialect=postgresql.dialect()))


def test_an_unreachable_database_is_named_as_such(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'missing' / 'x.sqlite3'}")
    for use in (database.ping, database.migrate):
        with pytest.raises(DatabaseUnavailable):
            use()


@pytest.mark.parametrize("url", ["mysql://h/d", "postgresql+psycopg2://h/d"])
def test_only_databases_that_are_tested_are_taken(url: str) -> None:
    with pytest.raises(PermanentError, match=r"must be sqlite:// or postgresql://"):
        Database(url)


@pytest.mark.parametrize("url", ["nonsense", "", "postgresql://u:secret@h:port/d"])
def test_what_is_no_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(PermanentError, match="DAPPLE_DATABASE_URL is not a database URL; one looks like sqlite:///") as caught:
        Database(url)
    assert "secret" not in str(caught.value)


def test_a_missing_driver_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("app.db.postgres", raising=False)
    monkeypatch.setitem(sys.modules, "app.db.postgres", None)
    with pytest.raises(PermanentError, match="install the extra `postgres`"):
        Database("postgresql://h/d")


def test_migrations_are_found_beside_the_package() -> None:
    assert (schema.MIGRATIONS / "env.py").is_file()
