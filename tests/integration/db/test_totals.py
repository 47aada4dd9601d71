from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import text

from app.db import expiry, jobs, leases, totals
from app.db.session import Database
from app.domain.job import Failure, FailureKind, JobState, Outcome, TaskKind
from tests.databases import PostgresServer
from tests.unit.app.stored import SPEC, claimed, prepared, submitted, succeeded

OOM = Failure(FailureKind.OUT_OF_MEMORY, "too large")


def ended(database: Database) -> tuple[Mapping[tuple[str, str, str], int], Mapping[tuple[str, str], int]]:
    """Attempts and jobs by how they ended, without what did not happen."""
    with database.reading() as session:
        found = totals.read(session)
    return {key: n for key, n in found.attempts.items() if n}, {key: n for key, n in found.jobs.items() if n}


def added(before: Mapping[Any, int], after: Mapping[Any, int]) -> dict[Any, int]:
    return {key: count - before.get(key, 0) for key, count in after.items() if count != before.get(key, 0)}


def test_every_attempt_and_job_is_counted_once_by_how_it_ended(database: Database) -> None:
    before, jobs_before = ended(database)
    succeeded(database)
    submitted(database, SPEC.model_copy(update={"max_attempts": 2}))
    with database.transaction() as session:
        leases.fail(session, claimed(database), OOM, backoff_seconds=0)
    claimed(database, "killed", lease_seconds=-1)
    with database.transaction() as session:
        assert expiry.expire(session, 0) == 1
    after, jobs_after = ended(database)
    assert added(before, after) == {
        (TaskKind.PREPARE, Outcome.SUCCEEDED, ""): 1,
        (TaskKind.SAMPLE, Outcome.SUCCEEDED, ""): 1,
        (TaskKind.PACKAGE, Outcome.SUCCEEDED, ""): 1,
        (TaskKind.PREPARE, Outcome.FAILED, "out_of_memory"): 1,
        (TaskKind.PREPARE, Outcome.EXPIRED, "crashed"): 1,
    }
    assert added(jobs_before, jobs_after) == {(JobState.SUCCEEDED, ""): 1, (JobState.FAILED, "crashed"): 1}


def test_what_a_failing_job_takes_along_is_counted_as_cancelled(database: Database) -> None:
    before, _ = ended(database)
    prepared(database, samples=2)
    lease, _other = claimed(database), claimed(database)
    with database.transaction() as session:
        leases.fail(session, lease, OOM, backoff_seconds=None)
    after, _ = ended(database)
    assert added(before, after) == {
        (TaskKind.PREPARE, Outcome.SUCCEEDED, ""): 1,
        (TaskKind.SAMPLE, Outcome.FAILED, "out_of_memory"): 1,
        (TaskKind.SAMPLE, Outcome.CANCELLED, ""): 1,
    }


def test_counters_outlive_the_jobs(database: Database) -> None:
    job_id = succeeded(database)
    before = ended(database)
    with database.transaction() as session:
        jobs.delete(session, job_id)
    assert ended(database) == before


def test_what_was_rolled_back_is_not_counted(database: Database) -> None:
    submitted(database)
    lease = claimed(database)
    before = ended(database)
    with pytest.raises(KeyError), database.transaction() as session:
        leases.fail(session, lease, OOM, backoff_seconds=None)
        raise KeyError
    assert ended(database) == before


def test_folding_changes_no_counter_and_leaves_a_row_for_each(database: Database) -> None:
    with database.transaction() as session:
        for _ in range(totals.FOLD_ABOVE):
            totals.count_attempt(session, "sample", Outcome.SUCCEEDED, None)
        totals.count_attempt(session, "sample", Outcome.FAILED, OOM)
    before = ended(database)
    with database.transaction() as session:
        assert totals.fold(session) >= totals.FOLD_ABOVE - 1
    assert ended(database) == before
    with database.transaction() as session:
        assert totals.fold(session) == 0  # few rows are left as they are


@pytest.mark.postgres
def test_ends_do_not_wait_for_each_other_nor_for_a_sweeper_that_folds(postgres: PostgresServer) -> None:
    database = Database(postgres.migrated())
    with database.transaction() as session:
        for _ in range(totals.FOLD_ABOVE + 1):
            totals.count_attempt(session, "sample", Outcome.SUCCEEDED, None)
    with database.transaction() as folding, database.transaction() as first, database.transaction() as second:
        assert totals.fold(folding) > 0
        folding.flush()
        for session in (first, second):
            session.execute(text("SET LOCAL lock_timeout = '1s'"))
            totals.count_attempt(session, "sample", Outcome.SUCCEEDED, None)
            session.flush()
    database.dispose()
