"""The names in a zip whose directory is small enough to read at submission."""

import zipfile
from pathlib import Path
from typing import IO, cast

from app.datasets.image_folder import LimitReached
from app.datasets.image_folder.zip_member import member_name

MAX_DIRECTORY_BYTES = 16 << 20  # some 150,000 members: about a second


def zip_names(path: Path) -> list[str]:
    """The names of the files in a zip.

    Raises LimitReached, before it reads the directory, if that is longer than MAX_DIRECTORY_BYTES.
    Raises the errors of `zipfile` if the zip is damaged.
    """
    with path.open("rb") as file, zipfile.ZipFile(cast("IO[bytes]", _Bounded(file))) as archive:
        return [member_name(info) for info in archive.infolist() if not info.is_dir()]


class _Bounded:
    """A file that refuses large reads: `zipfile` reads the whole directory with one call."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seekable, self.seek, self.tell, self.close = file.seekable, file.seek, file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        if size > MAX_DIRECTORY_BYTES:
            raise LimitReached(f"its directory is longer than {MAX_DIRECTORY_BYTES >> 20} MiB")
        return self._file.read(size if size >= 0 else MAX_DIRECTORY_BYTES)
