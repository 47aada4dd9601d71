import os

import pytest

from worker.processors import processors
from worker.training.threads import candidates


def test_a_process_has_the_processors_that_it_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {1, 3, 4}, raising=False)
    assert processors() == 3


@pytest.mark.parametrize(("count", "found", "threads"), [(4, 4, [1, 2, 4]), (None, 1, [1])])
def test_where_the_system_does_not_tell_it_has_all_of_the_machine(monkeypatch, count, found, threads):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert processors() == found
    assert candidates() == threads
