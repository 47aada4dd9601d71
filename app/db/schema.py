"""The version of a database's tables, and whether this version of the code can use them.

Every migration has a number. The row of `installation` holds the lowest number that a version of
the code must know to use the tables. A migration that only adds what older processes do not need
leaves this number as it is.
"""

from dataclasses import dataclass
from enum import Enum, auto
from functools import cache

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from app.settings import INSTALLED_AT

MIGRATIONS = INSTALLED_AT / "migrations"


class Fit(Enum):
    """How a database's tables suit this version of the code."""

    CURRENT = auto()  # made for this version
    EMPTY = auto()  # there are no tables
    OLDER = auto()  # made for an older version, and must be migrated first
    NEWER = auto()  # made for a newer version, but this one can use them
    TOO_NEW = auto()  # made for a newer version, and this one cannot use them


@dataclass(frozen=True)
class Schema:
    """The version of the tables, and how well it suits this version of the code.

    `oldest` is the lowest revision that a process must know to use tables that are newer than it.
    """

    fit: Fit
    revision: str | None
    oldest: str | None = None

    @property
    def usable(self) -> bool:
        return self.fit in (Fit.CURRENT, Fit.NEWER)

    @property
    def in_words(self) -> str:
        match self.fit:
            case Fit.CURRENT:
                return "the tables are those of this version"
            case Fit.EMPTY:
                return "the database has no tables yet"
            case Fit.OLDER:
                return f"the database's tables are of an older version ({self.revision}; this one needs {head()})"
            case Fit.NEWER:
                return f"the database's tables are of a newer version ({self.revision}), which this one ({head()}) can use"
            case Fit.TOO_NEW:
                return (
                    f"the database's tables are of a newer version ({self.revision}), which needs {self.oldest} or newer; "
                    f"this one is {head()}"
                )

    @property
    def advice(self) -> str:
        """What to do if the tables are not usable."""
        return "install the newer version of Dapple here" if self.fit is Fit.TOO_NEW else "run `dapple migrate`"


def config() -> Config:
    """The configuration of Alembic for these migrations."""
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return made


def schema_of(connection: Connection) -> Schema:
    """The current schema of the database's tables, from a few small queries."""
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None:
        return Schema(Fit.EMPTY, None)
    if revision == head():
        return Schema(Fit.CURRENT, revision)
    if revision in _revisions():
        return Schema(Fit.OLDER, revision)
    oldest = connection.execute(text("SELECT oldest_revision FROM installation")).scalar_one()
    return Schema(Fit.NEWER if head() >= oldest else Fit.TOO_NEW, revision, oldest)


def head() -> str:
    """The last migration that this version knows. Migrations are numbered and compare as text."""
    return max(_revisions())


@cache
def _revisions() -> frozenset[str]:
    return frozenset(script.revision for script in ScriptDirectory.from_config(config()).walk_revisions())
