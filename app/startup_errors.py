"""Reports why a process that another program starts, such as uvicorn or celery, cannot start."""

from collections.abc import Generator
from contextlib import contextmanager

from app.domain.errors import DappleError


@contextmanager
def ending_in_words() -> Generator[None]:
    """End the process on an error of ours, with its text on stderr instead of a traceback."""
    try:
        yield
    except DappleError as error:
        raise SystemExit(f"dapple: {error}") from None
