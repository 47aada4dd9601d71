import threading
import time

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from app.db import expiry, jobs
from app.db.tables import TaskRow
from app.domain.errors import Cancelled, LeaseLost, TimedOut
from app.domain.job import JobState, TaskKind
from tests.unit.app.stored import claimed, job_of, submitted
from tests.unit.worker.waiting import without_table
from tests.waiting import wait_until
from worker.service.lease_heartbeat import ASK_SECONDS, LeaseHeartbeat, ShuttingDown

pytestmark = pytest.mark.slow

ALWAYS, NEVER = 1e-6, 1e6


@pytest.fixture
def lease(database):
    submitted(database)
    return claimed(database)


@pytest.fixture
def hold(database, lease, settings):
    """hold(**settings) is a heartbeat of the lease; it neither beats nor writes progress unless told to."""

    def new(stopping=None, on_stuck=lambda _error: None, **changed):
        quiet = {"lease_seconds": 60.0, "heartbeat_seconds": NEVER, "progress_seconds": NEVER}
        changed = settings.model_copy(update=quiet | changed)
        return LeaseHeartbeat(database, lease, changed, stopping or threading.Event(), worker="w", on_stuck=on_stuck)

    return new


def row_of(database, lease):
    with database.reading() as session:
        return session.scalars(select(TaskRow).where(TaskRow.id == lease.task.id)).one()


def progress(database, lease):
    row = row_of(database, lease)
    return row.done, row.total


def take_away(database):
    """The lease expires and somebody else claims the task."""
    with database.transaction() as session:
        expiry.expire_worker(session, "")
    return claimed(database, "other")


def test_a_heartbeat_extends_the_lease_while_the_stage_computes(database, lease, hold):
    before = row_of(database, lease).lease_expires_at
    with hold(heartbeat_seconds=0.01):
        wait_until(lambda: row_of(database, lease).lease_expires_at > before)


def test_a_heartbeat_writes_the_progress_told_since(database, lease, hold):
    with hold(heartbeat_seconds=0.01) as heartbeat:
        heartbeat.report(3, 10)
        wait_until(lambda: progress(database, lease) == (3, 10))


def test_a_report_writes_progress_itself_once_enough_time_has_passed(database, lease, hold):
    with hold(progress_seconds=ALWAYS) as heartbeat:
        heartbeat.report(3, 10)
        assert progress(database, lease) == (3, 10)


def test_a_report_soon_after_another_writes_nothing(database, lease, hold):
    with hold() as heartbeat:
        heartbeat.report(3, 10)
        assert progress(database, lease) == (0, 1)


@pytest.mark.parametrize("progress_seconds", [ALWAYS, NEVER])
def test_a_cancelled_job_stops_its_task_at_the_next_report(database, lease, hold, progress_seconds):
    with hold(progress_seconds=progress_seconds) as heartbeat:
        heartbeat.report(1, 10)
        with database.transaction() as session:
            jobs.request_cancel(session, lease.task.job_id)
        time.sleep(ASK_SECONDS)
        with pytest.raises(Cancelled):
            heartbeat.report(2, 10)


@pytest.mark.parametrize("progress_seconds", [ALWAYS, NEVER])
def test_a_task_claimed_by_another_worker_stops_at_the_next_report_and_nothing_is_written(
    database, lease, hold, progress_seconds
):
    with hold(progress_seconds=progress_seconds) as heartbeat:
        others = take_away(database)
        time.sleep(ASK_SECONDS)
        with pytest.raises(LeaseLost):
            heartbeat.report(9, 10)
    row = row_of(database, others)
    assert (row.worker, row.token, row.done) == ("other", others.token, 0)


def test_a_job_cancelled_before_the_first_report_stops_at_it(database, lease, hold):
    with hold() as heartbeat:
        with database.transaction() as session:
            jobs.request_cancel(session, lease.task.job_id)
        with pytest.raises(Cancelled):
            heartbeat.report(1, 10)


def test_a_lost_lease_found_by_the_heartbeat_stops_the_next_report(database, hold):
    with hold(heartbeat_seconds=0.005) as heartbeat:
        take_away(database)
        wait_until(lambda: not _beating_holds(heartbeat))


def _beating_holds(heartbeat):
    try:
        heartbeat.report(1, 10)
    except LeaseLost:
        return False
    return True


def test_a_worker_that_shuts_down_stops_at_the_next_report(hold):
    stopping = threading.Event()
    with hold(stopping) as heartbeat:
        heartbeat.report(1, 10)
        stopping.set()
        with pytest.raises(ShuttingDown):
            heartbeat.report(2, 10)


@pytest.mark.parametrize("progress_seconds", [ALWAYS, NEVER])
def test_a_database_that_is_away_for_less_than_a_lease_is_outlived(database, lease, settings, hold, progress_seconds):
    with hold(progress_seconds=progress_seconds) as heartbeat:
        with without_table(settings.data_dir, "tasks"):
            heartbeat.report(1, 10)
        heartbeat.report(2, 10)


@pytest.mark.parametrize("progress_seconds", [ALWAYS, NEVER])
def test_a_database_that_is_away_is_not_asked_at_every_report(settings, hold, progress_seconds):
    away = without_table(settings.data_dir, "tasks")
    with hold(progress_seconds=progress_seconds) as heartbeat, away, capture_logs() as told:
        for step in range(20):
            heartbeat.report(step, 20)
            time.sleep(0.011)
    assert len(told) == 1


@pytest.mark.parametrize("progress_seconds", [ALWAYS, NEVER])
def test_a_holder_that_cannot_renew_for_as_long_as_a_lease_lasts_stops(settings, hold, progress_seconds):
    with hold(progress_seconds=progress_seconds, lease_seconds=0.01) as heartbeat, without_table(settings.data_dir, "tasks"):
        time.sleep(0.02)
        with pytest.raises(LeaseLost, match="renewed in time"):
            heartbeat.report(1, 10)


def test_the_heartbeat_ends_with_the_block_even_when_it_raises(lease, hold):
    with pytest.raises(KeyError, match="boom"), hold(heartbeat_seconds=0.005):
        raise KeyError("boom")
    assert f"heartbeat-{lease.task.id}" not in [thread.name for thread in threading.enumerate()]


def each(seconds):
    """A limit for every kind of task."""
    return dict.fromkeys(TaskKind, seconds)


def test_a_stage_that_does_not_report_is_stuck_and_its_lease_is_renewed_no_more(database, lease, hold):
    found: list[TimedOut] = []
    with hold(heartbeat_seconds=0.01, stall_seconds=each(0.1), on_stuck=found.append):
        wait_until(lambda: found != [])
        expires_at = row_of(database, lease).lease_expires_at
        time.sleep(0.05)
        assert row_of(database, lease).lease_expires_at == expires_at
    assert str(found[0]) == "prepare task 0 made no progress for 0.1 s on worker w"


def test_a_stage_that_reports_is_not_stuck_though_its_progress_stays_the_same(hold):
    found: list[TimedOut] = []
    with hold(heartbeat_seconds=0.01, stall_seconds=each(0.3), on_stuck=found.append) as heartbeat:
        for _ in range(40):
            heartbeat.report(0, 10)
            time.sleep(0.01)
    assert found == []


def test_a_stage_that_reports_for_too_long_stops_at_the_next_report(hold):
    with hold(task_seconds=each(0.01)) as heartbeat:
        time.sleep(0.02)
        with pytest.raises(TimedOut, match=r"^prepare task 0 did not end within 0\.01 s on worker w$"):
            heartbeat.report(1, 10)


def test_a_cancelled_job_ends_though_its_stage_does_not_answer(database, lease, hold):
    with hold(heartbeat_seconds=0.01, cancel_seconds=0.05) as heartbeat:
        with database.transaction() as session:
            jobs.request_cancel(session, lease.task.job_id)
        wait_until(lambda: job_of(database, lease.task.job_id).state is JobState.CANCELLED)
        with pytest.raises(LeaseLost):
            heartbeat.report(1, 10)
    with database.transaction() as session:
        jobs.delete(session, lease.task.job_id)


def test_a_stage_is_given_time_to_answer_a_cancel(database, lease, hold):
    with hold(heartbeat_seconds=0.01) as heartbeat:
        with database.transaction() as session:
            jobs.request_cancel(session, lease.task.job_id)
        time.sleep(0.05)
        with pytest.raises(Cancelled):
            heartbeat.report(1, 10)
    assert job_of(database, lease.task.job_id).state is JobState.CANCELLING
