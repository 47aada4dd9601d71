"""Notice a shutdown before the server waits for open connections, which an endless event stream would keep open."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def noticing_signals(closing: threading.Event) -> Generator[None]:
    """Sets `closing` when a signal to stop arrives, then does what would have been done without us.

    Signals belong to the main thread: elsewhere, and where the server has no handlers of its own, nothing happens.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if callable(handler):
            signal.signal(number, partial(_notice, closing, handler))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _notice(closing: threading.Event, handler: object, number: int, frame: FrameType | None) -> None:
    closing.set()
    if callable(handler):
        handler(number, frame)
