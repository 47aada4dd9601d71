"""How a process that another program starts, such as uvicorn or celery, tells why it cannot."""

from collections.abc import Generator
from contextlib import contextmanager

from app.domain.errors import DappleError


@contextmanager
def ending_in_words() -> Generator[None]:
    """An error of ours ends the process, with the error's text on standard error instead of a traceback."""
    try:
        yield
    except DappleError as error:
        raise SystemExit(f"dapple: {error}") from None
