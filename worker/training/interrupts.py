"""Signals that ask to stop: noted, and obeyed between two steps."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """`received` is the first signal that came; a second one ends the process as if nothing had
    caught it.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    @property
    def exit_code(self) -> int:
        """What a shell sees of a process that this signal ended."""
        return 128 + (self.received or 0)

    def receive(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.received = signal.Signals(number)


@contextmanager
def noted_interrupts() -> Generator[Interrupts]:
    """SIGINT, SIGTERM and SIGHUP are noted while the block runs, those that the process ignores
    (nohup) left out.

    In the main thread only: Python sets signal handlers in no other.
    """
    interrupts = Interrupts()
    heeded = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupts.receive) for number in heeded}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
