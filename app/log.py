"""Structured logs on stderr: readable lines on a terminal, else one JSON object per line.

Ids are bound once per task or request with `structlog.contextvars.bound_contextvars`, and appear on
every line logged within.
"""

import io
import logging
import sys
from types import TracebackType
from typing import TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor

from app.domain.text import printable_lines

ACCEPT_PAUSE_SECONDS = 10.0
STARTING_FAILED = "SystemExit: dapple: "  # app.startup_errors raises this SystemExit


def configure(level: str, **always: str) -> None:
    """Send log records of `level` and above to stderr, in one form, with the fields in `always`.

    This covers the records of structlog and of the standard library.
    """
    shared: list[Processor] = [
        lambda _logger, _method, line: {**always, **line},
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_rendering()))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for name in ("uvicorn", "uvicorn.access"):
        _take_over(logging.getLogger(name))
    # Without free descriptors, asyncio logs thousands of lines a second about connections that it
    # cannot accept.
    _add_once(logging.getLogger("asyncio"), OncePerPause("socket.accept() out of system resource", ACCEPT_PAUSE_SECONDS))
    _add_once(logging.getLogger("uvicorn.error"), ReasonOnly())
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it reports at every start that it has nothing to do


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log the error that ends the process, in the form of all other logs. Ctrl-C is no error."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        structlog.get_logger(__name__).critical("process.failed", exc_info=(kind, error, trace))


class OncePerPause(logging.Filter):
    """Passes lines that begin with `text` at most once in `seconds`, and every other line."""

    def __init__(self, text: str, seconds: float) -> None:
        super().__init__()
        self._text, self._seconds = text, seconds
        self._passed_at: float | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.getMessage().startswith(self._text):
            return True
        if self._passed_at is not None and record.created - self._passed_at < self._seconds:
            return False
        self._passed_at = record.created
        return True


class ReasonOnly(logging.Filter):
    """Shortens the traceback of a start that failed with our own message to this message.

    Starlette passes on the whole traceback.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        _, ours, reason = record.getMessage().partition(f"\n{STARTING_FAILED}")
        if ours:
            record.msg, record.args = reason.strip(), ()
        return True


def _add_once(logger: logging.Logger, added: logging.Filter) -> None:
    """Add a filter in place of an earlier filter of the same type."""
    for earlier in [one for one in logger.filters if isinstance(one, type(added))]:
        logger.removeFilter(earlier)
    logger.addFilter(added)


def _take_over(logger: logging.Logger) -> None:
    """Make a library that set up its own handlers log in our form, with the ids.

    A library without handlers stays silent.
    """
    if logger.handlers:
        logger.handlers.clear()
        logger.propagate = True


def _rendering() -> list[Processor]:
    drop_internals = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if sys.stderr.isatty():
        return [drop_internals, _escaped, structlog.dev.ConsoleRenderer(exception_formatter=_escaped_traceback)]
    return [drop_internals, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _escaped(_logger: object, _method: str, line: EventDict) -> EventDict:
    """The line for a terminal, with control characters in its texts escaped.

    Names and messages from outside may hold such characters.
    """
    return {name: printable_lines(value) if isinstance(value, str) else value for name, value in line.items()}


def _escaped_traceback(out: TextIO, found: ExcInfo) -> None:
    """Write an error's traceback, which ends with its message, with control characters escaped."""
    written = io.StringIO()
    structlog.dev.plain_traceback(written, found)
    out.write(printable_lines(written.getvalue()))
