import signal
import subprocess
import sys

import pytest

from worker.training.interrupts import STOPPING, noted_interrupts


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_is_noted_and_the_handlers_come_back(number):
    before = [signal.getsignal(each) for each in STOPPING]
    with noted_interrupts() as interrupts:
        assert interrupts.received is None
        signal.raise_signal(number)
        assert interrupts.received is number
        assert interrupts.exit_code == 128 + number
    assert [signal.getsignal(each) for each in STOPPING] == before


def test_a_signal_that_the_process_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with noted_interrupts() as interrupts:
            signal.raise_signal(signal.SIGHUP)
        assert interrupts.received is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_ends_the_process():
    code = """
import signal
from worker.training.interrupts import noted_interrupts
with noted_interrupts():
    signal.raise_signal(signal.SIGINT)
    print("still here", flush=True)
    signal.raise_signal(signal.SIGINT)
    print("too late", flush=True)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (-signal.SIGINT, "still here\n")
