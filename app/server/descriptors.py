"""The limit on open files of this process."""

import resource
from contextlib import suppress

SPARE = 256  # descriptors for the database, the log, libraries, and threads that read a dataset


def raise_limit() -> int:
    """Raise the limit on open files as far as the system allows, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # a hard limit above the kernel's own cannot be set, so the old limit stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def connections_within(descriptors: int, *, backlog: int, most: int) -> int:
    """The number of connections, `most` at most, that fit into this limit on open files.

    Each connection may read a file, and `backlog` more connections are accepted before any is
    closed.
    """
    if descriptors == resource.RLIM_INFINITY:
        return most
    return max(1, min(most, (descriptors - SPARE - backlog) // 2))
