"""What a kind of database offers to app.db.session."""

from dataclasses import dataclass

from sqlalchemy import Engine


@dataclass(frozen=True)
class Engines:
    """Ways into one database: to change it, to read one snapshot of it, and to change its tables."""

    writing: Engine
    reading: Engine
    migrating: Engine

    def dispose(self) -> None:
        for engine in (self.writing, self.reading, self.migrating):
            engine.dispose()
