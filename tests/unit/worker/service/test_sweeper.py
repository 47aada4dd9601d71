import threading
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from sqlalchemy.orm import Session

from app.db import leases, workers
from app.db.session import Database
from app.domain.errors import DatabaseUnavailable, LeaseLost
from app.domain.job import Failure, FailureKind, JobState, Queue
from app.domain.worker import About
from app.settings import Settings
from tests.unit.app.stored import SPEC, RecordingQueue, claimed, job_of, prepared, states_of, submitted
from tests.unit.worker.waiting import PATIENCE_SECONDS, without_table
from tests.waiting import wait_until
from worker.service.sweeper import Sweeper
from worker.service.sweeper_metrics import SweeperMetrics

pytestmark = pytest.mark.slow

LAPSED = -1.0


def sweeper(database: Database, settings: Settings) -> Sweeper:
    return Sweeper(settings, database, RecordingQueue())


def announce(database: Database, name: str) -> None:
    with database.transaction() as session:
        workers.announce(session, name, About((Queue.GPU,), "cuda:0", 1))


@contextmanager
def sweeping(database: Database, settings: Settings, metrics: SweeperMetrics | None = None) -> Generator[None]:
    stopping = threading.Event()
    often = settings.model_copy(update={"lease_seconds": 0.03})
    thread = threading.Thread(target=Sweeper(often, database, RecordingQueue(), metrics).sweep_until, args=(stopping,))
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def test_a_task_whose_lease_has_lapsed_is_claimed_by_another_worker(database, settings):
    job_id = submitted(database)
    first = claimed(database, "dead", lease_seconds=LAPSED)
    assert sweeper(database, settings).sweep() == 1
    second = claimed(database, "alive")
    assert (second.task.id, second.task.job_id, second.task.attempt) == (first.task.id, job_id, 2)
    assert second.token > first.token


def test_a_sweeper_that_lives_keeps_a_file_fresh_for_a_health_check(database, settings):
    with sweeping(database, settings):
        wait_until((settings.data_dir / "swept").exists)


def test_rounds_and_what_they_ended_are_counted(database, settings):
    submitted(database)
    claimed(database, "dead", lease_seconds=LAPSED)
    metrics = SweeperMetrics()

    def value(name: str, labels: dict[str, str] | None = None) -> float:
        found = metrics.registry.get_sample_value(name, labels)
        assert found is not None
        return found

    started = value("dapple_sweep_last_timestamp_seconds")
    with sweeping(database, settings, metrics):
        wait_until(lambda: value("dapple_sweep_ended_total") == 1)
        with without_table(settings.data_dir, "tasks"):
            wait_until(lambda: value("dapple_sweeps_total", {"outcome": "postponed"}) > 0)
        wait_until(lambda: value("dapple_sweeps_total", {"outcome": "done"}) > 1)
    assert value("dapple_sweep_last_timestamp_seconds") > started


def test_a_lease_that_holds_is_left_alone(database, settings):
    job_id = submitted(database)
    claimed(database, lease_seconds=60)
    assert sweeper(database, settings).sweep() == 0
    assert states_of(database, job_id) == ["running"]


def test_a_job_not_started_by_its_deadline_expires(database, settings):
    job_id = submitted(database, SPEC.model_copy(update={"deadline_seconds": 0.001}))
    wait_until(lambda: sweeper(database, settings).sweep() == 1)
    assert job_of(database, job_id).state is JobState.EXPIRED


def test_a_job_that_runs_for_longer_than_its_limit_fails_and_its_worker_learns_of_it(database, settings):
    job_id = submitted(database, SPEC.model_copy(update={"time_limit_seconds": 0.001}))
    lease = claimed(database)
    wait_until(lambda: sweeper(database, settings).sweep() == 1)
    job = job_of(database, job_id)
    assert job.state is JobState.FAILED
    assert job.failure == Failure(FailureKind.TIMEOUT, "the job did not end within its limit of 0.001 s")
    assert states_of(database, job_id) == ["cancelled"]
    with database.transaction() as session, pytest.raises(LeaseLost):
        leases.renew(session, lease, 60)


def test_the_time_limit_of_a_job_begins_with_its_first_task(database, settings):
    job_id = submitted(database, SPEC.model_copy(update={"time_limit_seconds": 0.001}))
    assert sweeper(database, settings).sweep() == 0
    assert job_of(database, job_id).state is JobState.QUEUED


def test_a_job_within_its_time_limit_is_left_alone(database, settings):
    job_id = submitted(database, SPEC.model_copy(update={"time_limit_seconds": 3600}))
    claimed(database)
    assert sweeper(database, settings).sweep() == 0
    assert job_of(database, job_id).state is JobState.RUNNING


def test_a_task_is_swept_again_and_again_until_its_attempts_are_used_up(database, settings):
    job_id = submitted(database)
    with sweeping(database, settings):
        for attempt in range(SPEC.max_attempts):
            assert claimed(database, "dead", lease_seconds=LAPSED).task.attempt == attempt + 1
            wait_until(lambda: states_of(database, job_id) != ["running"])
    assert states_of(database, job_id) == ["failed"]
    assert job_of(database, job_id).state is JobState.FAILED


class WatchedDatabase(Database):
    """Tells when it was away."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.was_away = threading.Event()

    @contextmanager
    def transaction(self) -> Generator[Session]:
        try:
            with super().transaction() as session:
                yield session
        except DatabaseUnavailable:
            self.was_away.set()
            raise


def test_sweeping_goes_on_after_the_database_was_away(database, settings):
    job_id = submitted(database)
    watched = WatchedDatabase(settings.sqlalchemy_url)
    with sweeping(watched, settings):
        with without_table(settings.data_dir, "tasks"):
            assert watched.was_away.wait(PATIENCE_SECONDS)
        claimed(database, lease_seconds=LAPSED)
        wait_until(lambda: states_of(database, job_id) == ["ready"])
    watched.dispose()


def test_as_many_workers_are_woken_as_can_start_something(database, settings):
    queue = RecordingQueue()
    prepared(database, samples=3)
    for name in ("gpu-1", "gpu-2"):
        announce(database, name)
    Sweeper(settings, database, queue).sweep()
    assert queue.woken == [(Queue.GPU, 2)]


def test_without_a_known_worker_one_is_woken(database, settings):
    queue = RecordingQueue()
    prepared(database, samples=3)
    Sweeper(settings, database, queue).sweep()
    assert queue.woken == [(Queue.GPU, 1)]


def test_what_stays_unclaimed_is_not_told_at_every_round_but_what_is_new_is(database, settings):
    queue = RecordingQueue()
    sweeper = Sweeper(settings, database, queue)
    for _ in range(3):
        sweeper.sweep()
    assert queue.woken == []
    for _ in range(2):
        submitted(database)
        for _ in range(3):
            sweeper.sweep()
    assert queue.woken == [(Queue.CPU, 1)] * 2


def test_what_stays_unclaimed_is_told_again_after_a_while(database, settings, monkeypatch):
    monkeypatch.setattr("worker.service.sweeper.WAKE_AGAIN_SECONDS", 0.0)
    queue = RecordingQueue()
    submitted(database)
    sweeper = Sweeper(settings, database, queue)
    for _ in range(2):
        sweeper.sweep()
    assert queue.woken == [(Queue.CPU, 1)] * 2


def test_workers_that_ended_without_a_word_are_forgotten(database, settings, monkeypatch):
    monkeypatch.setattr("worker.service.sweeper.FORGET_SECONDS", -1.0)
    announce(database, "dead")
    sweeper(database, settings).sweep()
    with database.reading() as session:
        assert workers.alive(session, heartbeat_seconds=60) == []
