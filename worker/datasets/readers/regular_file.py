"""Open a file safely while another user may change its folder."""

import io
import os
import stat
from pathlib import Path

FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # does not block on a pipe


class NotRegular(OSError):
    """The path is a pipe, a device, a socket or a folder."""

    def __init__(self) -> None:
        super().__init__("not a regular file")


class OpenFolder:
    """An open folder; closed with the object. Raises OSError."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


def open_regular(path: Path) -> io.BufferedReader:
    """The file, open for reading.

    Raises OSError if it cannot be opened, or is a link or anything else than a regular file.
    """
    return open(regular_descriptor(path), "rb")


def regular_descriptor(path: Path | str, folder: int | None = None) -> int:
    """As `open_regular`, but a descriptor, which the caller must close. A relative path begins at
    the open `folder`.
    """
    descriptor = os.open(path, FLAGS, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegular
    return descriptor
