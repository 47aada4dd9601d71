"""Shows how far a long operation is: a bar on a terminal, a line now and then elsewhere."""

import math
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_SECONDS = 30.0
LEAST_SECONDS = 1.0
LINES = 10

Update = Callable[[int, int, str], None]  # done, total, note


@contextmanager
def shown_progress(console: Console, work: str) -> Generator[Update]:
    """A function `update(done, total, note)`, cheap enough to call at every step."""
    if not console.is_terminal:
        yield ProgressLines(work, lambda line: console.print(line, soft_wrap=True, markup=False)).update
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(work, total=None)

        def update(done: int, total: int, note: str) -> None:
            progress.update(bar, completed=done, total=total, description=f"{work} {note}".rstrip())

        yield update


class ProgressLines:
    """Writes a line at the first and last update, at each tenth of the work, and now and then.

    A line is also due where LINE_SECONDS have passed since the last line. Quick work is not
    reported line by line: apart from the last line, there is at most one line in LEAST_SECONDS.
    """

    def __init__(self, work: str, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._work = work
        self._write = write
        self._clock = clock
        self._first: tuple[int, float] | None = None  # done and time at the first update
        self._tenth = -1
        self._written_at = -math.inf

    def update(self, done: int, total: int, note: str) -> None:
        now = self._clock()
        first_done, first_at = self._first = self._first or (done, now)
        tenth = LINES * done // total
        if done < total and now - self._written_at < (LINE_SECONDS if tenth == self._tenth else LEAST_SECONDS):
            return
        self._tenth, self._written_at = tenth, now
        left = _time_left(done - first_done, now - first_at, total - done)
        self._write(", ".join(part for part in (f"{self._work}: {done:,} of {total:,}", note, left) if part))


def _time_left(done: int, seconds: float, remaining: int) -> str:
    if not done or not remaining:
        return ""
    left = seconds / done * remaining
    return f"about {left / 60:.0f} minutes left" if left >= 120 else f"about {left:.0f} seconds left"
