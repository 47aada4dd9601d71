"""How long work tells that it goes on."""

from collections.abc import Callable

ReportProgress = Callable[[int, int], None]
"""`report(done, total)`: how many units are done. It raises when the work must stop."""

Heartbeat = Callable[[], None]
"""Called often while there is nothing to count. It raises when the work must stop."""


def no_progress(_done: int, _total: int) -> None:
    """For callers that nobody watches."""


def no_heartbeat() -> None:
    """For callers that nobody watches."""
