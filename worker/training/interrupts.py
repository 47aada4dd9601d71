"""Notes signals that ask the process to stop. The process obeys them between two steps."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Notes the first signal that came, as `received`.

    A second signal ends the process as if nothing had caught it.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    @property
    def exit_code(self) -> int:
        """The exit code that a shell sees of a process that this signal ended."""
        return 128 + (self.received or 0)

    def receive(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.received = signal.Signals(number)


@contextmanager
def noted_interrupts() -> Generator[Interrupts]:
    """Notes SIGINT, SIGTERM and SIGHUP while the block runs.

    Signals that the process ignores (nohup) are left out. Works in the main thread only, because
    Python sets signal handlers in no other thread.
    """
    interrupts = Interrupts()
    heeded = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupts.receive) for number in heeded}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
