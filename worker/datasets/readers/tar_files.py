"""Read the files of a tar directly, without extracting it; and unpack a compressed one."""

import bz2
import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO, cast

import pyarrow as pa

from app.datasets.file_kinds import HEAD_BYTES, FileKind
from app.datasets.image_folder.names import readable
from app.domain.errors import DatasetRejected
from worker.datasets.decode import MAX_FILE_BYTES, BadImage
from worker.datasets.readers.bounded_file import BoundedFile
from worker.datasets.readers.files import check_count
from worker.progress import Heartbeat, no_heartbeat

MAX_HEADER_BYTES = 1 << 20  # of one extended header
MAX_RATIO = 200
MAX_UNPACKED_BYTES = 256 << 30
SMALL_BYTES = 64 << 20  # below this, a high ratio may be plain pictures
COPIED_BYTES = 1 << 20
DAMAGED = (EOFError, OSError, ValueError, pa.ArrowException, zlib.error)
BEAT_MEMBERS = 1024


class TarFiles:
    """The regular members of a tar, sorted by name.

    Raises DatasetRejected that names the member, for a name that is absolute or has `..`, a link,
    a device, a sparse member, a repeated name, or a member that is cut short. Calls `heartbeat`
    while it lists.
    """

    def __init__(self, path: Path, scratch: Path, heartbeat: Heartbeat = no_heartbeat) -> None:
        self._file = BoundedFile(path, MAX_HEADER_BYTES, f"{path.name}: a header is longer than {MAX_HEADER_BYTES:,} bytes")
        self._scratch = scratch
        self._places: dict[str, tuple[int, int]] = {}
        end = path.stat().st_size
        for number, member in enumerate(self._members(path)):
            if number % BEAT_MEMBERS == 0:
                heartbeat()
            _check(member, end)
            if member.isreg():
                if member.name in self._places:
                    raise DatasetRejected(f"{readable(path.name)} has two members of the name {readable(member.name)!r}")
                self._places[member.name] = member.offset_data, member.size
        check_count(len(self._places))
        self.paths = tuple(sorted(self._places))

    def _members(self, path: Path) -> Iterator[tarfile.TarInfo]:
        """Every member in order. `tarfile` would keep them all in memory."""
        try:
            with closing(tarfile.TarFile(fileobj=cast("IO[bytes]", self._file))) as archive:
                while (member := archive.next()) is not None:
                    yield member
                    archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue] - public, but not in its stub
        except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
            raise DatasetRejected(f"{readable(path.name)} is not a readable tar: {error}; copy or download it again") from error

    def size(self, path: str) -> int:
        """The size in bytes by the header."""
        return self._places[path][1]

    def read(self, path: str) -> bytes:
        """The content of member `path`. Raises BadImage if it is too large or unreadable."""
        place, size = self._places[path]
        if size > MAX_FILE_BYTES:
            raise BadImage(readable(path), f"larger than {MAX_FILE_BYTES >> 20} MiB")
        try:
            return self._file.read_at(place, size)
        except OSError as error:
            raise BadImage(readable(path), error.strerror or str(error)) from error

    def head(self, path: str) -> bytes:
        place, size = self._places[path]
        return self._file.read_at(place, min(size, HEAD_BYTES))

    def local(self, path: str) -> Path:
        """The member, copied into the scratch folder."""
        target = self._scratch / hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()
        if not target.exists():
            place, size = self._places[path]
            with target.open("wb") as file:
                while size and (part := self._file.read_at(place, min(size, COPIED_BYTES))):
                    file.write(part)
                    place, size = place + len(part), size - len(part)
        return target


def unpacked(path: Path, kind: FileKind, target: Path, heartbeat: Heartbeat = no_heartbeat) -> Path:
    """Decompress the file at `path` into `target`, and return `target`.

    Raises DatasetRejected if the file is damaged, unpacks to more than MAX_UNPACKED_BYTES, or to
    more than MAX_RATIO times its size.
    """
    most = min(MAX_UNPACKED_BYTES, max(SMALL_BYTES, MAX_RATIO * path.stat().st_size))
    total = 0
    try:
        with _decompressing(path, kind) as source, target.open("wb") as file:
            while part := source.read(COPIED_BYTES):
                total += len(part)
                if total > most:
                    raise DatasetRejected(f"{readable(path.name)} unpacks to more than {most:,} bytes")
                file.write(part)
                heartbeat()
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno:  # of the disk, not of the content
            raise
        raise DatasetRejected(f"{readable(path.name)} cannot be unpacked ({error}); copy or download it again") from error
    return target


def unpacked_head(path: Path, kind: FileKind) -> bytes:
    """The first bytes of the content of a compressed file; none if it is damaged."""
    try:
        with _decompressing(path, kind) as source:
            return source.read(HEAD_BYTES)
    except DAMAGED:
        return b""


def _decompressing(path: Path, kind: FileKind) -> IO[bytes]:
    if kind is FileKind.GZIP:
        return cast("IO[bytes]", gzip.GzipFile(path))
    if kind is FileKind.BZIP2:
        return bz2.BZ2File(path)
    return cast("IO[bytes]", pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))


def _check(member: tarfile.TarInfo, end: int) -> None:
    name = PurePosixPath(member.name.replace("\\", "/"))
    shown = readable(member.name[:200])
    if name.is_absolute() or ".." in name.parts or "\0" in member.name:
        raise DatasetRejected(f"{shown!r} is not a safe member name")
    if member.issym() or member.islnk():
        raise DatasetRejected(f"{shown!r} is a link; pack the files that links lead to (tar --dereference)")
    if member.isdev():
        raise DatasetRejected(f"{shown!r} is a device or a pipe")
    if member.issparse():
        raise DatasetRejected(f"{shown!r} is a sparse member; pack it without --sparse")
    if member.size < 0 or member.offset_data + member.size > end:
        raise DatasetRejected(f"{shown!r} is cut short: the tar is incomplete; copy or download it again")
