import threading
import time

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from app.db import jobs, tasks
from app.db.tables import TaskRow
from app.domain.errors import Cancelled, LeaseLost
from tests.unit.app.stored import claimed, submitted
from tests.unit.worker.waiting import without_table
from tests.waiting import wait_until
from worker.lease import LOOK_SECONDS, Holder, ShuttingDown

ALWAYS, NEVER = 1e-6, 1e6


@pytest.fixture
def lease(database):
    submitted(database)
    return claimed(database)


@pytest.fixture
def hold(database, lease, settings):
    """hold(**settings) is a holder of the lease; it neither beats nor writes progress unless told to."""

    def new(stopping=None, **changed):
        quiet = {"lease_seconds": 60.0, "heartbeat_seconds": NEVER, "progress_seconds": NEVER}
        return Holder(database, lease, settings.model_copy(update=quiet | changed), stopping or threading.Event())

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
        tasks.expire_worker(session, "")
    return claimed(database, "other")


def test_a_heartbeat_extends_the_lease_while_the_stage_computes(database, lease, hold):
    before = row_of(database, lease).lease_expires_at
    with hold(heartbeat_seconds=0.01):
        wait_until(lambda: row_of(database, lease).lease_expires_at > before)


def test_a_heartbeat_writes_the_progress_told_since(database, lease, hold):
    with hold(heartbeat_seconds=0.01) as holder:
        holder.tick(3, 10)
        wait_until(lambda: progress(database, lease) == (3, 10))


def test_a_tick_writes_progress_itself_once_enough_time_has_passed(database, lease, hold):
    with hold(progress_seconds=ALWAYS) as holder:
        holder.tick(3, 10)
        assert progress(database, lease) == (3, 10)


def test_a_tick_soon_after_another_writes_nothing(database, lease, hold):
    with hold() as holder:
        holder.tick(3, 10)
        assert progress(database, lease) == (0, 1)


@pytest.mark.parametrize("progress_seconds", [ALWAYS, NEVER])
def test_a_cancelled_job_stops_its_task_at_the_next_tick(database, lease, hold, progress_seconds):
    with hold(progress_seconds=progress_seconds) as holder:
        holder.tick(1, 10)
        with database.transaction() as session:
            jobs.request_cancel(session, lease.task.job_id)
        time.sleep(LOOK_SECONDS)
        with pytest.raises(Cancelled):
            holder.tick(2, 10)


@pytest.mark.parametrize("progress_seconds", [ALWAYS, NEVER])
def test_a_task_claimed_by_another_worker_stops_at_the_next_tick_and_nothing_is_written(
    database, lease, hold, progress_seconds
):
    with hold(progress_seconds=progress_seconds) as holder:
        others = take_away(database)
        time.sleep(LOOK_SECONDS)
        with pytest.raises(LeaseLost):
            holder.tick(9, 10)
    row = row_of(database, others)
    assert (row.worker, row.token, row.done) == ("other", others.token, 0)


def test_a_job_cancelled_before_the_first_tick_stops_at_it(database, lease, hold):
    with hold() as holder:
        with database.transaction() as session:
            jobs.request_cancel(session, lease.task.job_id)
        with pytest.raises(Cancelled):
            holder.tick(1, 10)


def test_a_lost_lease_found_by_the_heartbeat_stops_the_next_tick(database, hold):
    with hold(heartbeat_seconds=0.005) as holder:
        take_away(database)
        wait_until(lambda: not _beating_holds(holder))


def _beating_holds(holder):
    try:
        holder.tick(1, 10)
    except LeaseLost:
        return False
    return True


def test_a_worker_that_shuts_down_stops_at_the_next_tick(hold):
    stopping = threading.Event()
    with hold(stopping) as holder:
        holder.tick(1, 10)
        stopping.set()
        with pytest.raises(ShuttingDown):
            holder.tick(2, 10)


@pytest.mark.parametrize("progress_seconds", [ALWAYS, NEVER])
def test_a_database_that_is_away_for_less_than_a_lease_is_outlived(database, lease, settings, hold, progress_seconds):
    with hold(progress_seconds=progress_seconds) as holder:
        with without_table(settings.data_dir, "tasks"):
            holder.tick(1, 10)
        holder.tick(2, 10)


@pytest.mark.parametrize("progress_seconds", [ALWAYS, NEVER])
def test_a_database_that_is_away_is_not_asked_at_every_tick(settings, hold, progress_seconds):
    with hold(progress_seconds=progress_seconds) as holder, without_table(settings.data_dir, "tasks"), capture_logs() as told:
        for step in range(20):
            holder.tick(step, 20)
            time.sleep(0.011)
    assert len(told) == 1


@pytest.mark.parametrize("progress_seconds", [ALWAYS, NEVER])
def test_a_holder_that_cannot_renew_for_as_long_as_a_lease_lasts_stops(settings, hold, progress_seconds):
    with hold(progress_seconds=progress_seconds, lease_seconds=0.01) as holder, without_table(settings.data_dir, "tasks"):
        time.sleep(0.02)
        with pytest.raises(LeaseLost, match="renewed in time"):
            holder.tick(1, 10)


def test_the_heartbeat_ends_with_the_block_even_when_it_raises(lease, hold):
    with pytest.raises(KeyError, match="boom"), hold(heartbeat_seconds=0.005):
        raise KeyError("boom")
    assert f"heartbeat-{lease.task.id}" not in [thread.name for thread in threading.enumerate()]
