"""`dapple migrate`."""

from app.cli.console import answers
from app.db.session import Database
from app.settings import settings_from


def migrate() -> None:
    """Bring the database's tables to this version and exit; of several at once, one does it and the others wait.

    Nothing else migrates a database on a server. Tables of a newer version are left as they are.
    """
    settings = settings_from()
    if settings.database_url is None:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = Database(settings.sqlalchemy_url)
    answers.print(database.migrate().in_words)
    database.dispose()
