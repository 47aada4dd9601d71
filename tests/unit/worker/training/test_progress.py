import io

import pytest
from rich.console import Console

from worker.training.progress import ProgressLines, shown_progress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lines_of(clock: Clock, total: int, seconds_each: float) -> list[str]:
    lines: list[str] = []
    progress = ProgressLines("training", lines.append, clock)
    for done in range(1, total + 1):
        progress.update(done, total, f"loss {done}")
        clock.now += seconds_each
    return lines


def test_there_is_a_line_for_each_tenth(clock):
    lines = lines_of(clock, 1000, seconds_each=0.1)
    assert [line.split(",")[0] for line in lines] == [
        "training: 1 of 1",
        *[f"training: {done} of 1" for done in range(100, 1000, 100)],
        "training: 1",
    ]
    assert lines[0] == "training: 1 of 1,000, loss 1"
    assert lines[1] == "training: 100 of 1,000, loss 100, about 90 seconds left"
    assert lines[-1] == "training: 1,000 of 1,000, loss 1000"


def test_slow_work_has_a_line_every_half_minute(clock):
    lines = lines_of(clock, 30, seconds_each=15.0)
    assert [line.split()[1] for line in lines[:4]] == ["1", "3", "5", "6"]
    assert lines[1] == "training: 3 of 30, loss 3, about 7 minutes left"


def test_quick_work_has_two_lines(clock):
    assert len(lines_of(clock, 1000, seconds_each=0.0001)) == 2


def test_off_a_terminal_the_console_gets_lines():
    stream = io.StringIO()
    with shown_progress(Console(file=stream), "reading images") as update:
        update(1, 1, "")
    assert stream.getvalue() == "reading images: 1 of 1\n"


def test_a_terminal_gets_a_bar():
    stream = io.StringIO()
    with shown_progress(Console(file=stream, force_terminal=True, width=100), "training") as update:
        update(3, 4, "loss 0.5")
    assert "training loss 0.5" in stream.getvalue()
    assert "3/4" in stream.getvalue()
