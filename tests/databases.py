"""Databases of both kinds for tests; Postgres ones on the server that DAPPLE_TEST_POSTGRES_URL names."""

import os
from functools import cache

import psycopg
import pytest
from sqlalchemy import make_url
from ulid import ULID

from app.db.session import Database

VARIABLE = "DAPPLE_TEST_POSTGRES_URL"
KINDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


def server_url() -> str:
    return os.environ.get(VARIABLE, "postgresql://postgres@127.0.0.1:5432/postgres")


@cache
def why_no_postgres() -> str | None:
    """Why tests on Postgres cannot run here, if they cannot."""
    try:
        psycopg.connect(server_url(), connect_timeout=5).close()
    except psycopg.OperationalError as error:
        return f"no PostgreSQL server at {VARIABLE}={server_url()} ({str(error).splitlines()[0]})"
    return None


class PostgresServer:
    """A server to make databases on; all of them are dropped when it is closed."""

    def __init__(self) -> None:
        self._admin = psycopg.connect(server_url(), autocommit=True)
        self._made: list[str] = []
        self._emptied: psycopg.Connection | None = None

    def new(self, options: str = "") -> str:
        """URL of a database without tables."""
        name = f"dapple_test_{ULID()}".lower()
        self._admin.execute(f"CREATE DATABASE {name} {options}".encode())
        self._made.append(name)
        return make_url(server_url()).set(database=name).render_as_string(hide_password=False)

    def migrated(self) -> str:
        """URL of a database with tables and no rows.

        The same one at each call, as making one takes 50 times as long, unless a test has spoilt its tables.
        """
        if self._emptied is None:
            self._emptied = self._migrate_new()
        try:
            self._emptied.execute("DELETE FROM jobs")
            self._emptied.execute("DELETE FROM workers")
        except psycopg.errors.UndefinedTable:
            self._emptied.close()
            self._emptied = self._migrate_new()
        return make_url(server_url()).set(database=self._emptied.info.dbname).render_as_string(hide_password=False)

    def _migrate_new(self) -> psycopg.Connection:
        url = self.new()
        database = Database(url)
        database.migrate()
        database.dispose()
        return psycopg.connect(url, autocommit=True, options="-c lock_timeout=10s")

    def close(self) -> None:
        if self._emptied is not None:
            self._emptied.close()
        for name in self._made:
            self._admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
        self._admin.close()
