import threading

from app.db import workers
from app.domain.job import Queue
from app.domain.worker import About
from tests.unit.worker.waiting import without_table
from tests.waiting import wait_until
from worker.service.presence_heartbeat import PresenceHeartbeat

BEAT_SECONDS = 0.02


def about(*backbones: str) -> About:
    return About((Queue.CPU,), "cpu", 1, backbones)


def listed(database) -> list[tuple[str, ...]]:
    with database.reading() as session:
        return [worker.about.backbones for worker in workers.alive(session, heartbeat_seconds=60)]


def test_a_worker_is_announced_while_it_runs_and_no_longer(database):
    with PresenceHeartbeat(database, "w", about, heartbeat_seconds=60):
        wait_until(lambda: listed(database) == [()])
    assert listed(database) == []


def test_each_beat_tells_what_the_worker_holds_by_then(database):
    held: list[str] = []
    with PresenceHeartbeat(database, "w", lambda: about(*held), heartbeat_seconds=BEAT_SECONDS):
        wait_until(lambda: listed(database) == [()])
        held.append("embedded/digits")
        wait_until(lambda: listed(database) == [("embedded/digits",)])


def test_the_first_beat_comes_at_once(database):
    beats = threading.Semaphore(0)
    with PresenceHeartbeat(database, "w", about, heartbeat_seconds=60, on_beat=beats.release):
        assert beats.acquire(timeout=20)


def test_announcing_goes_on_after_the_database_was_away(database, settings):
    beats = threading.Semaphore(0)
    with PresenceHeartbeat(database, "w", about, heartbeat_seconds=BEAT_SECONDS, on_beat=beats.release):
        with without_table(settings.data_dir, "workers"):
            for _ in range(3):
                assert beats.acquire(timeout=20)
        wait_until(lambda: listed(database) == [()])


def test_announcing_goes_on_after_a_beat_that_failed(database):
    beats = threading.Semaphore(0)

    def fail():
        beats.release()
        raise OverflowError("timeout value is too large")

    with PresenceHeartbeat(database, "w", about, heartbeat_seconds=BEAT_SECONDS, on_beat=fail):
        for _ in range(3):
            assert beats.acquire(timeout=20)
