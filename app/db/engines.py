"""The interface that each kind of database offers to app.db.session."""

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
    """The engines of one database: to change it, to read one snapshot of it, to change its tables.

    `explain` returns what an error means to the operator and what to do about it, or None if it
    knows no more than the driver. `check` raises DatabaseUnavailable if the database is known to
    accept no changes.
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
