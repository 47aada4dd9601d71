"""Files of a zip, read from it directly: nothing is ever extracted."""

import stat
import zipfile
from pathlib import Path, PurePosixPath

from app.domain.errors import DatasetRejected
from app.domain.image_folder.zip_member import member_name
from worker.datasets.decode import MAX_FILE_BYTES, BadImage
from worker.datasets.readers.files import check_count

MAX_RATIO = 200
SMALL_BYTES = 1 << 20  # below this a high ratio is a plain picture, not a bomb
MAX_TOTAL_BYTES = 256 << 30


class ZipFiles:
    """The members of a zip, sorted by name.

    Raises DatasetRejected naming the member for a name that is absolute or has `..`, a symbolic link, an encrypted member, a
    name that occurs twice, or a member that unpacks to more than MAX_RATIO times its size.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:  # the latter for versions and names
            raise DatasetRejected(f"{path} is not a readable zip: {error}") from error
        members = sorted((info for info in self._zip.infolist() if not info.is_dir()), key=lambda info: info.filename)
        check_count(len(members))
        for info in members:
            _check(info)
        if sum(info.file_size for info in members) > MAX_TOTAL_BYTES:
            raise DatasetRejected(f"{path} unpacks to more than {MAX_TOTAL_BYTES >> 30} GiB")
        self._members = {member_name(info): info for info in members}
        if len(self._members) != len(members):
            raise DatasetRejected(f"{path} has two members of one name")
        self.paths = tuple(self._members)

    def size(self, path: str) -> int:
        """In bytes, as the directory says."""
        return self._members[path].file_size

    def read(self, path: str) -> bytes:
        """The content of member `path`. Raises BadImage naming it if it is too large or damaged."""
        info = self._members[path]
        if info.file_size > MAX_FILE_BYTES:
            raise BadImage(path, f"larger than {MAX_FILE_BYTES >> 20} MiB")
        try:
            return self._zip.read(info)
        except Exception as error:  # each compression method fails with its own exceptions
            raise BadImage(path, f"cannot be unpacked ({error})") from error


def _check(info: zipfile.ZipInfo) -> None:
    name = PurePosixPath(info.filename.replace("\\", "/"))  # some tools on Windows write backslashes
    if name.is_absolute() or ".." in name.parts or "\0" in info.orig_filename:
        raise DatasetRejected(f"{info.filename!r} is no safe member name")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise DatasetRejected(f"{info.filename!r} is a symbolic link")
    if info.flag_bits & 1:
        raise DatasetRejected(f"{info.filename!r} is encrypted")
    if info.file_size > SMALL_BYTES and info.file_size > MAX_RATIO * info.compress_size:
        raise DatasetRejected(f"{info.filename!r} unpacks to more than {MAX_RATIO} times its size")
