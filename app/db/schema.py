"""Which version of the tables a database has, and its clock."""

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.session import MIGRATIONS, now


def is_current(session: Session) -> bool:
    """Whether the tables are those of this version of the code."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    head = ScriptDirectory.from_config(config).get_current_head()
    return MigrationContext.configure(session.connection()).get_current_revision() == head


def seconds_now(session: Session) -> float:
    """The database's clock in seconds since the epoch."""
    return session.scalars(select(now())).one()
