"""Read untrusted files: only regular files, and only up to a size."""

import hashlib
import os
import time
from collections import OrderedDict
from io import BufferedReader
from pathlib import Path
from stat import S_ISREG

from app.fingerprints import SETTLED_SECONDS, Fingerprint, fingerprint

MOST_REMEMBERED = 10_000
_sha256_by_mark: OrderedDict[tuple[Path, Fingerprint], str] = OrderedDict()


class TooLarge(ValueError):
    """The file is larger than the limit."""


class Changing(OSError):
    """The file changed during the read."""


def read_limited(path: Path, most_bytes: int) -> bytes:
    """The content of a regular file. Raises OSError if there is none, TooLarge by the limit."""
    with _opened(path) as stream:
        if os.fstat(stream.fileno()).st_size > most_bytes:
            raise TooLarge(f"it has more than {most_bytes:,} bytes")
        return stream.read(most_bytes)


def sha256(path: Path) -> str:
    """SHA-256 of the content. Cached until the file changes: weights have gigabytes, and every job
    asks.

    Raises OSError if there is no regular file, Changing if it changes during the read.
    """
    with _opened(path) as stream:
        key = path, fingerprint(os.fstat(stream.fileno()))
        if (known := _sha256_by_mark.get(key)) is not None:
            return known
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if fingerprint(os.fstat(stream.fileno())) != key[1]:
            raise Changing(0, "it changed while it was read", str(path))
        if abs(time.time() - os.fstat(stream.fileno()).st_ctime) > SETTLED_SECONDS:
            _sha256_by_mark[key] = digest
            while len(_sha256_by_mark) > MOST_REMEMBERED:
                _sha256_by_mark.popitem(last=False)
        return digest


def _opened(path: Path) -> BufferedReader:
    """The open file; follows links. Does not block on a pipe, which is refused."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "it is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")
