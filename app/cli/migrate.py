"""`dapple migrate`."""

from app.cli.console import answers
from app.db.session import Database
from app.settings import settings_from


def migrate() -> None:
    """Migrate the database's tables to this version and exit. If several processes migrate at
    once, one does the work and the others wait.

    No other command migrates a database on a server. Tables of a newer version stay unchanged.
    """
    settings = settings_from()
    if settings.database_url is None:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = Database(settings.sqlalchemy_url)
    answers.print(database.migrate().in_words)
    database.dispose()
