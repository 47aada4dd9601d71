"""An ArtifactStore in a folder of this machine."""

import errno
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Literal
from uuid import uuid4

from app.domain.artifact import Artifact
from app.domain.errors import ArtifactDamaged, ArtifactNotReady, StorageUnavailable
from app.storage.keys import UNFINISHED, check_key, check_prefix

CHUNK_BYTES = 1 << 20
PROBE_BYTES = 64 << 10
REMEDIES = {
    errno.ENOSPC: "; make room on its disk",
    errno.EDQUOT: "; make room, or raise the quota",
    errno.EACCES: "; change its owner or its permissions",
    errno.EROFS: "; its disk is mounted for reading only",
}
NOT_A_FILE = (errno.ELOOP, errno.ENOTDIR, errno.ENXIO)


class LocalArtifactStore:
    """A store in which each key is a file below `root`.

    A file appears whole or not at all, and survives a power cut once `put` has returned.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._unfinished = root / UNFINISHED

    def put(self, key: str, source: Path, media_type: str, tick: Callable[[], None] = lambda: None) -> Artifact:
        """Store the file's bytes under `key`, replacing what was there.

        Raises StorageUnavailable, for example if the disk is full.
        """
        target = self._path(key)
        with _as_unavailable(f"cannot store {key}"):
            self._unfinished.mkdir(parents=True, exist_ok=True)
            copy = self._unfinished / uuid4().hex
            try:
                sha256, size_bytes = _copy(source, copy, tick)
                _make_folders(self._root, target.parent)
                copy.replace(target)
                _sync_folder(target.parent)
            finally:
                copy.unlink(missing_ok=True)
        return Artifact(key, sha256, media_type, size_bytes)

    @contextmanager
    def open(self, key: str) -> Generator[IO[bytes]]:
        """The stored bytes as a seekable stream.

        Raises ArtifactNotReady if nothing is stored, or ArtifactDamaged if the key belongs to
        something other than a file.
        """
        with self.file(key) as stream:
            yield stream

    def file(self, key: str) -> IO[bytes]:
        """The open file. Raises what `open` raises."""
        check_key(key)
        try:
            with _as_unavailable(f"cannot read {key}"):
                root = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
                return _open_below(root, key)
        except StorageUnavailable as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise ArtifactNotReady(f"nothing is stored under {key}") from error
            raise

    def size_bytes(self, key: str) -> int:
        """The size of the file. Raises what `open` raises."""
        with self.file(key) as stream:
            return os.fstat(stream.fileno()).st_size

    def url(self, key: str, seconds: float, method: Literal["GET", "HEAD"] = "GET") -> None:
        """None, because there is no URL: `file` has the bytes."""
        check_key(key)

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that starts with `prefix`, sorted, and listed lazily as keys are consumed."""
        for path in _files(self._root / prefix.rpartition("/")[0]):
            key = path.relative_to(self._root).as_posix()
            if key.startswith(prefix) and not key.startswith(UNFINISHED):
                yield key

    def delete(self, keys: Sequence[str]) -> None:
        """Remove these files, and the folders that become empty except top-level folders.

        A missing file is no error.
        """
        with _as_unavailable(f"cannot delete {len(keys)} files"):
            for path in map(self._path, keys):
                path.unlink(missing_ok=True)
                with suppress(OSError):
                    for folder in path.relative_to(self._root).parents[:-2]:
                        (self._root / folder).rmdir()

    def delete_prefix(self, prefix: str) -> None:
        """Remove everything under `prefix` (which ends in a slash).

        If nothing is there, it is no error.
        """
        check_prefix(prefix)
        folder = self._path(prefix.removesuffix("/"))
        with _as_unavailable(f"cannot delete {prefix}"):
            if folder.is_symlink():  # only the link is ours
                folder.unlink()
            while folder.exists():
                with suppress(FileNotFoundError):  # a worker drops its attempt's files while the job is deleted
                    shutil.rmtree(folder)

    def check(self) -> None:
        """Raises StorageUnavailable unless files can be written."""
        with _as_unavailable(f"the artifact folder {self._root} cannot be written"):
            self._unfinished.mkdir(parents=True, exist_ok=True)
            probe = self._unfinished / uuid4().hex
            try:
                probe.write_bytes(bytes(PROBE_BYTES))  # on a full disk, an empty file could still be made
            finally:
                probe.unlink(missing_ok=True)

    def check_writable(self) -> None:
        """Raises StorageUnavailable unless files can be written.

        This is `check`, because writing to a folder costs nothing.
        """
        self.check()

    def sweep(self, older_than_seconds: float = 86400.0) -> int:
        """Remove unfinished copies left by a crashed process; return how many were removed.

        Only copies untouched for `older_than_seconds` are removed.
        """
        with _as_unavailable("the artifact folder cannot be swept"):
            self._unfinished.mkdir(parents=True, exist_ok=True)
            before = time.time() - older_than_seconds
            return sum(_remove_if_older(copy, before) for copy in self._unfinished.iterdir())

    def _path(self, key: str) -> Path:
        """The path of a key. Raises ValueError if the key is not a plain relative POSIX path."""
        check_key(key)
        return self._root / key


@contextmanager
def _as_unavailable(what: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(f"{what}: {error.strerror or error}{REMEDIES.get(error.errno or 0, '')}") from error


def _open_below(folder: int, key: str) -> IO[bytes]:
    """The file `key` below an open folder, which this function closes. It follows no link.

    Raises ArtifactDamaged if the key belongs to something other than a plain file, or OSError if it
    cannot be opened.
    """
    *folders, name = key.split("/")
    try:
        for each in folders:
            inner = os.open(each, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)  # else a pipe would block
    except OSError as error:
        if error.errno in NOT_A_FILE:
            raise ArtifactDamaged(f"{key} is not a plain file, or lies behind a link") from error
        raise
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ArtifactDamaged(f"{key} is not a plain file")
    return os.fdopen(descriptor, "rb")


def _remove_if_older(copy: Path, before: float) -> bool:
    """Remove the copy if it is old; return whether it was removed.

    A copy that has just got its key, or that another sweeper has removed, does not count.
    """
    with suppress(FileNotFoundError):
        if copy.stat().st_mtime <= before:
            copy.unlink()
            return True
    return False


def _copy(source: Path, target: Path, tick: Callable[[], None]) -> tuple[str, int]:
    """Copy the file safely to disk; return its SHA-256 and its size."""
    digest, size_bytes = hashlib.sha256(), 0
    with source.open("rb") as reader, target.open("xb") as writer:
        while chunk := reader.read(CHUNK_BYTES):
            digest.update(chunk)
            size_bytes += writer.write(chunk)
            tick()
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest(), size_bytes


def _files(folder: Path) -> Iterator[Path]:
    """Every file below `folder`, in the order of whole paths, without what vanishes meanwhile."""
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name + "/" * is_folder, is_folder) for entry in entries for is_folder in [_is_folder(entry)])
    except (FileNotFoundError, NotADirectoryError):
        return
    for name, is_folder in found:
        if is_folder:
            yield from _files(folder / name)
        else:
            yield folder / name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _make_folders(root: Path, folder: Path) -> None:
    """Create the folder and its missing parents, with each entry safe on disk."""
    if folder.is_dir():
        return
    if folder != root:
        _make_folders(root, folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
