"""Read the files of a zip directly, without extracting it."""

import hashlib
import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO, cast

from app.datasets.file_kinds import HEAD_BYTES
from app.datasets.image_folder.zip_member import is_guessed, member_name
from app.domain.errors import DatasetRejected
from worker.datasets.decode import MAX_FILE_BYTES, BadImage
from worker.datasets.readers.bounded_file import BoundedFile
from worker.datasets.readers.files import check_count

MAX_RATIO = 200
SMALL_BYTES = 1 << 20  # below this, a high ratio may be a plain picture
MAX_TOTAL_BYTES = 256 << 30
LOCAL_HEADER_BYTES = 30  # before each member's name and content
MAX_DIRECTORY_BYTES = 512 << 20
COPIED_BYTES = 1 << 20


class ZipFiles:
    """The members of a zip, sorted by name.

    Raises DatasetRejected that names the member, for a name that is absolute or has `..`, a
    symbolic link, an encrypted member, a repeated name, members that share bytes of the file, or a
    member that unpacks to more than MAX_RATIO times its size. Raises it before reading a directory
    of more than MAX_DIRECTORY_BYTES. `guessed` are names that may have been decoded wrongly.
    """

    def __init__(self, path: Path, scratch: Path) -> None:
        self._path, self._scratch = path, scratch
        try:
            bounded = BoundedFile(
                path, MAX_DIRECTORY_BYTES, f"the zip's directory is longer than {MAX_DIRECTORY_BYTES >> 20} MiB"
            )
            self._zip = zipfile.ZipFile(cast("IO[bytes]", bounded))
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:  # the latter for versions and names
            raise DatasetRejected(f"{path} is not a readable zip: {error}") from error
        members = sorted((info for info in self._zip.infolist() if not info.is_dir()), key=lambda info: info.filename)
        check_count(len(members))
        for info in members:
            _check(info)
        _check_places(self._zip.infolist(), self._zip.start_dir, path)
        if sum(info.file_size for info in members) > MAX_TOTAL_BYTES:
            raise DatasetRejected(f"{path} unpacks to more than {MAX_TOTAL_BYTES >> 30} GiB")
        self._members = {member_name(info): info for info in members}
        if len(self._members) != len(members):
            raise DatasetRejected(f"{path} has two members of one name")
        self.paths = tuple(self._members)
        self.guessed = tuple(name for name, info in self._members.items() if is_guessed(info))

    def size(self, path: str) -> int:
        """The size in bytes by the directory."""
        return self._members[path].file_size

    def read(self, path: str) -> bytes:
        """The content of member `path`. Raises BadImage if it is too large or damaged."""
        info = self._members[path]
        if info.file_size > MAX_FILE_BYTES:
            raise BadImage(path, f"larger than {MAX_FILE_BYTES >> 20} MiB")
        try:
            return self._zip.read(info)
        except Exception as error:  # each compression method fails with its own exceptions
            raise BadImage(path, f"cannot be unpacked ({error})") from error

    def head(self, path: str) -> bytes:
        try:
            with self._zip.open(self._members[path]) as member:
                return member.read(HEAD_BYTES)
        except Exception:  # noqa: BLE001 - as in `read`
            return b""

    def local(self, path: str) -> Path:
        """The member, unpacked into the scratch folder."""
        target = self._scratch / hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()
        if not target.exists():
            try:
                with self._zip.open(self._members[path]) as member, target.open("wb") as file:
                    shutil.copyfileobj(member, file, COPIED_BYTES)
            except (EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
                raise DatasetRejected(f"{path} cannot be unpacked ({error})") from error
        return target


def _check_places(infos: Sequence[zipfile.ZipInfo], directory: int, path: Path) -> None:
    """Raises DatasetRejected if two members share bytes, or one reaches into the directory or
    beyond the file.

    A small file whose members all unpack the same bytes could otherwise take any time to read.
    """
    ordered = sorted(infos, key=lambda info: info.header_offset)
    ends = [*(info.header_offset for info in ordered[1:]), directory]
    for info, end in zip(ordered, ends, strict=False):  # of an empty zip only the directory's place is there
        if info.header_offset < 0 or info.header_offset + LOCAL_HEADER_BYTES + info.compress_size > end:
            raise DatasetRejected(f"{path}: {info.filename!r} overlaps another part of the zip")


def _check(info: zipfile.ZipInfo) -> None:
    name = PurePosixPath(info.filename.replace("\\", "/"))  # some tools on Windows write backslashes
    if name.is_absolute() or ".." in name.parts or "\0" in info.orig_filename:
        raise DatasetRejected(f"{info.filename!r} is not a safe member name")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise DatasetRejected(f"{info.filename!r} is a symbolic link")
    if info.flag_bits & 1:
        raise DatasetRejected(f"{info.filename!r} is encrypted")
    if info.file_size > SMALL_BYTES and info.file_size > MAX_RATIO * info.compress_size:
        raise DatasetRejected(f"{info.filename!r} unpacks to more than {MAX_RATIO} times its size")
