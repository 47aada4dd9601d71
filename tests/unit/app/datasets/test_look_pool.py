from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread

import pytest

from app.datasets.look_pool import DatasetBusy, LookPool


def test_what_a_look_returns_or_raises_is_the_answer() -> None:
    pool = LookPool(looking=1, waiting=0)
    assert pool.run("a", lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        pool.run("a", lambda: 1 // 0)
    with pytest.raises(TimeoutError):
        pool.run("a", _raise_timeout)
    assert pool.run("a", lambda: 4) == 4


def _raise_timeout() -> None:
    raise TimeoutError("the look's own")


def test_a_look_for_which_there_is_no_place_is_refused_at_once() -> None:
    pool, begun, go_on = LookPool(looking=1, waiting=0), Event(), Event()

    def wait() -> bool:
        begun.set()
        return go_on.wait(20)

    with ThreadPoolExecutor() as threads:
        first = threads.submit(pool.run, "a", wait)
        begun.wait(20)
        with pytest.raises(DatasetBusy, match="too many"):
            pool.run("a", lambda: True)
        go_on.set()
        assert first.result()
    assert pool.run("a", lambda: True)


def test_a_look_that_is_stuck_does_not_hold_the_request_and_keeps_its_thread() -> None:
    pool, go_on = LookPool(looking=1, waiting=1, patience_seconds=0.05), Event()
    with pytest.raises(DatasetBusy, match="does not answer"):
        pool.run("a", lambda: go_on.wait(20))
    with pytest.raises(DatasetBusy, match="other datasets"):
        pool.run("b", lambda: True)
    go_on.set()


def test_requests_for_one_thing_share_one_look() -> None:
    pool, begun, go_on = LookPool(looking=2, waiting=4), Event(), Event()
    looks: list[int] = []

    def wait() -> int:
        looks.append(len(looks))
        begun.set()
        go_on.wait(20)
        return looks[-1]

    with ThreadPoolExecutor() as threads:
        first = threads.submit(pool.run, "a", wait)
        begun.wait(20)
        others = [threads.submit(pool.run, "a", wait) for _ in range(3)]
        assert pool.run("b", lambda: 7) == 7
        go_on.set()
        assert {one.result() for one in (first, *others)} == {0}


def test_a_look_without_a_thread_is_refused_and_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = LookPool(looking=1, waiting=0, patience_seconds=5)

    def refuse(_thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(Thread, "start", refuse)
        for _ in range(3):
            with pytest.raises(DatasetBusy, match="no thread to look at the dataset"):
                pool.run("a", lambda: True)
    assert pool.run("a", lambda: True)
