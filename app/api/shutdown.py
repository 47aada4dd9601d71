"""Notice a shutdown before the server waits for open connections, so that event streams end."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def noticing_signals(closing: threading.Event) -> Generator[None]:
    """Set `closing` when a signal to stop arrives, then call the server's own handler.

    Does nothing outside the main thread, where Python delivers no signals, or for a signal without
    a handler in Python.
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
