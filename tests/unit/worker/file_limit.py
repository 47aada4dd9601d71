"""What a full disk does: writing goes well for a while, then raises OSError."""

import resource
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def no_file_longer_than(size_bytes: int) -> Generator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
