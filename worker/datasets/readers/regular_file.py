"""Open a file whose folder a stranger may change meanwhile."""

import io
import os
import stat
from pathlib import Path

FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe would be waited for until somebody writes


class NotRegular(OSError):
    """A pipe, a device, a socket or a folder is where a file was."""

    def __init__(self) -> None:
        super().__init__("not a regular file")


def open_regular(path: Path) -> io.BufferedReader:
    """The file, open for reading.

    Raises OSError if it cannot be opened, or is a link or anything else than a regular file.
    """
    return open(regular_descriptor(path), "rb")


def regular_descriptor(path: Path) -> int:
    """The same as a descriptor, which is the caller's to close."""
    descriptor = os.open(path, FLAGS)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegular
    return descriptor
