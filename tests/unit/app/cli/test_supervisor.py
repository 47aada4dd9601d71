import sys
import time
from pathlib import Path

import pytest

from app.cli.supervisor import Supervisor


def supervisor(program: str, deaths: list[int], numbers: list[int]) -> Supervisor:
    def environment_of(number: int) -> dict[str, str]:
        numbers.append(number)
        return {"CHILD": str(number)}

    return Supervisor([sys.executable, "-c", program], environment_of, deaths.append)


@pytest.mark.slow
def test_a_child_that_dies_is_started_again_with_the_next_number(tmp_path: Path):
    program = f"""
import os, pathlib, sys, time
if os.environ["CHILD"] == "1":
    sys.exit(7)
pathlib.Path({str(tmp_path / "second")!r}).touch()
sys.stdin.read()
"""
    deaths: list[int] = []
    numbers: list[int] = []
    runner = supervisor(program, deaths, numbers)

    runner.start()
    wait_for(tmp_path / "second")
    runner.stop()

    assert (deaths, numbers) == ([7], [1, 2])


def test_stopping_sends_sigterm_and_starts_no_other_child(tmp_path: Path):
    program = f"""
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(tmp_path / "asked")!r}).touch(), sys.exit(0)))
pathlib.Path({str(tmp_path / "up")!r}).touch()
time.sleep(60)
"""
    deaths: list[int] = []
    numbers: list[int] = []
    runner = supervisor(program, deaths, numbers)

    runner.start()
    wait_for(tmp_path / "up")
    runner.stop()

    assert (tmp_path / "asked").exists()
    assert (deaths, numbers) == ([], [1])


def test_a_supervisor_that_is_stopped_before_it_starts_leaves_no_child():
    numbers: list[int] = []
    runner = supervisor("", [], numbers)

    runner.ask_to_stop()
    runner.start()
    runner.stop()

    assert numbers == []


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.02)
