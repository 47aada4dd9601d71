"""What a kind of database offers to app.db.session."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

Explain = Callable[[SQLAlchemyError], str | None]


def _do_nothing() -> None:
    pass


def _nothing_to_say(_: SQLAlchemyError) -> None:
    return None


@dataclass(frozen=True)
class Engines:
    """Ways into one database: to change it, to read one snapshot of it, and to change its tables.

    `explain` says what an error means to the operator and what to do; None if it knows no more than the driver. `check` raises
    DatabaseUnavailable where the database is known to take no changes.
    """

    writing: Engine
    reading: Engine
    migrating: Engine
    explain: Explain = _nothing_to_say
    check: Callable[[], None] = _do_nothing
    before_migration: Callable[[], None] = _do_nothing

    def dispose(self) -> None:
        for engine in (self.writing, self.reading, self.migrating):
            engine.dispose()
