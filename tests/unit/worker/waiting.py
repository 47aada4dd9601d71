"""Wait for what another thread does, and take the database away for a while."""

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

PATIENCE_SECONDS = 20.0


@contextmanager
def without_table(folder: Path, name: str) -> Generator[None]:
    """Every query of it fails meanwhile, as if the database were away."""
    _rename(folder, name, f"{name}_away")
    yield
    _rename(folder, f"{name}_away", name)


def _rename(folder: Path, before: str, after: str) -> None:
    with closing(sqlite3.connect(folder / "dapple.sqlite3", timeout=PATIENCE_SECONDS)) as connection, connection:
        connection.execute("PRAGMA legacy_alter_table=ON")  # leave the names in foreign keys as they are
        connection.execute(f"ALTER TABLE {before} RENAME TO {after}")
