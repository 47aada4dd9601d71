"""The file of an SQLite database: checks that it is still the opened file, and explains errors."""

import logging
import os
import sqlite3
from pathlib import Path

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app.domain.errors import DatabaseUnavailable

LEAST_FREE_BYTES = 4 << 20  # SQLite writes each change twice
RESTORE = "stop every process that uses it, then restore it from a copy, or move it away to begin without jobs"
MEANINGS = {
    sqlite3.SQLITE_CORRUPT: f"the database file {{path}} is damaged; {RESTORE}",
    sqlite3.SQLITE_NOTADB: f"{{path}} is not an SQLite database, or is damaged; {RESTORE}",
    sqlite3.SQLITE_FULL: "the disk of the database file {path} is full; make room",
    sqlite3.SQLITE_CANTOPEN: "the database file {path} cannot be opened; its folder must exist and be writable",
    sqlite3.SQLITE_READONLY: "the database file {path} cannot be written; change its owner or its permissions",
    sqlite3.SQLITE_IOERR: "the database file {path} cannot be read or written; look whether its disk is full or broken",
}
NO_TABLES = f"the database file {{path}} lacks tables of this version: run `dapple migrate`; if it was emptied, {RESTORE}"

log = logging.getLogger(__name__)


class SqliteFile:
    """The file at `path`, which must stay the same file for as long as this object lives.

    A process that has a file open would go on writing to it after its removal, and lose the changes
    that it accepted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: tuple[int, int] | None = None

    def opened(self) -> None:
        """Remember which file was opened; call this after a connection was made.

        Raises DatabaseUnavailable if it is another file than before.
        """
        if self._opened is None:
            found = self._path.stat()
            self._opened = (found.st_dev, found.st_ino)
        self.check_same()

    def check_same(self) -> None:
        """Raises DatabaseUnavailable if the opened file is not at its path now, or was emptied."""
        if self._opened is None:
            return
        try:
            found = self._path.stat()
        except OSError as error:
            raise DatabaseUnavailable(f"the database file {self._path} is gone; {RESTORE}") from error
        if (found.st_dev, found.st_ino) != self._opened:
            raise DatabaseUnavailable(f"another file was put in the place of {self._path}; restart every process that uses it")
        if found.st_size == 0:
            raise DatabaseUnavailable(f"the database file {self._path} was emptied; {RESTORE}")

    def check_space(self) -> None:
        """Raises DatabaseUnavailable if the file's disk is nearly full.

        SQLite itself would report a full disk no earlier than at the next change.
        """
        try:
            disk = os.statvfs(self._path.parent)
        except OSError:  # opening the file will report what is wrong
            return
        free_bytes = disk.f_bavail * disk.f_frsize
        if free_bytes < LEAST_FREE_BYTES:
            raise DatabaseUnavailable(f"the disk of the database file {self._path} has {free_bytes} bytes left; make room")

    def warn_if_empty(self) -> None:
        """Log a warning if the file exists but is empty, because it may have had tables."""
        if self._path.is_file() and self._path.stat().st_size == 0:
            log.warning("the database file %s is empty and gets new tables; if it had jobs, %s", self._path, RESTORE)

    def explain(self, error: SQLAlchemyError) -> str | None:
        """What an error means and what to do about it; None if it knows no more than the driver."""
        cause = error.orig if isinstance(error, DBAPIError) else None
        if not isinstance(cause, sqlite3.Error):
            return None
        meaning = MEANINGS.get(primary_code(cause))
        if meaning is None and str(cause).startswith(("no such table", "no such column")):
            meaning = NO_TABLES
        return meaning and meaning.format(path=self._path)


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code without its extension; 0 if the error is not SQLite's own."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
