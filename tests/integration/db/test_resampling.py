from collections.abc import Callable
from typing import Any

import pytest

from app.db import events, jobs, leases, resampling
from app.db.session import Database
from app.domain.errors import LeaseLost
from app.domain.job import FailureKind, JobState, Lease, Outcome, TaskKind
from app.domain.worker import Claimant
from tests.unit.app.stored import SPEC, attempts_of, claimed, job_of, prepared, states_of


def call(database: Database, use: Callable[..., Any], *args: Any, **options: Any) -> Any:
    with database.transaction() as session:
        return use(session, *args, **options)


def sampled(database: Database, samples: int = 2, evaluations: int = 0, **changes: Any) -> str:
    """Id of a job whose sample tasks have stored `key 0`, `key 1`, ..."""
    job_id = prepared(database, samples, evaluations, SPEC.model_copy(update=changes))
    for _ in range(samples):
        store(database, claimed(database))
    return job_id


def store(database: Database, lease: Lease, version: str = "") -> None:
    call(database, leases.finish, lease, {"key": f"key {lease.task.ordinal}{version}"})


def outcomes(database: Database, job_id: str) -> list[Outcome | None]:
    with database.reading() as session:
        return [attempt.outcome for attempt in attempts_of(session, job_id)]


def keys(database: Database, job_id: str) -> list[str]:
    with database.reading() as session:
        return [(task.output or {})["key"] for task in leases.task_outputs(session, job_id, TaskKind.SAMPLE)]


def test_a_damaged_sample_is_made_again_while_its_reader_waits(database: Database) -> None:
    job_id = sampled(database)
    package = claimed(database)
    assert call(database, resampling.sample_again, package, ["key 1"])
    assert states_of(database, job_id) == ["succeeded", "succeeded", "ready", "waiting"]
    again = claimed(database)
    assert (again.task.kind, again.task.ordinal, again.task.attempt) == (TaskKind.SAMPLE, 1, 2)
    assert again.output_prefix.split("/")[3] != "1"
    store(database, again, " again")
    assert keys(database, job_id) == ["key 0", "key 1 again"]
    assert claimed(database).task.kind is TaskKind.PACKAGE
    assert outcomes(database, job_id).count(Outcome.RELEASED) == 1
    with database.reading() as session:
        told = [event for event in events.after(session, job_id, 0) if event.type == "task.retried"]
    assert "sample task 1 were found missing or damaged" in told[0].body["failure"]["message"]


def test_its_reader_can_change_nothing_more(database: Database) -> None:
    sampled(database)
    package = claimed(database)
    call(database, resampling.sample_again, package, ["key 0"])
    for use in (leases.finish, resampling.sample_again):
        with pytest.raises(LeaseLost):
            call(database, use, package, {})


def test_several_damaged_ones_are_made_again_at_once(database: Database) -> None:
    job_id = sampled(database, samples=3)
    call(database, resampling.sample_again, claimed(database), ["key 0", "key 2"])
    assert states_of(database, job_id) == ["succeeded", "ready", "succeeded", "ready", "waiting"]


def test_evaluations_that_run_go_on_and_those_that_wait_follow_the_sample(database: Database) -> None:
    job_id = sampled(database, samples=1, evaluations=3)
    first, second = claimed(database), claimed(database)
    call(database, resampling.sample_again, first, ["key 0"])
    assert states_of(database, job_id) == ["succeeded", "ready", "waiting", "running", "ready", "waiting"]
    call(database, leases.finish, second, {})
    while (lease := call(database, leases.claim, Claimant("w"), 60)) is not None:
        store(database, lease, " again")
    assert set(states_of(database, job_id)) == {"succeeded"}


def test_two_readers_of_one_damaged_sample_cost_one_try_of_it(database: Database) -> None:
    job_id = sampled(database, samples=1, evaluations=2)
    first, second = claimed(database), claimed(database)
    for reader in (first, second):
        call(database, resampling.sample_again, reader, ["key 0"])
    assert states_of(database, job_id) == ["succeeded", "ready", "waiting", "waiting", "waiting"]
    store(database, claimed(database), " again")
    assert states_of(database, job_id) == ["succeeded", "succeeded", "ready", "ready", "waiting"]


def test_who_read_what_has_been_replaced_since_reads_again(database: Database) -> None:
    job_id = sampled(database, samples=1, evaluations=2)
    first, second = claimed(database), claimed(database)
    call(database, resampling.sample_again, first, ["key 0"])
    store(database, claimed(database), " again")
    call(database, resampling.sample_again, second, ["key 0"])
    assert states_of(database, job_id) == ["succeeded", "succeeded", "ready", "ready", "waiting"]
    assert keys(database, job_id) == ["key 0 again"]


def test_a_store_that_damages_everything_fails_the_job_after_its_attempts(database: Database) -> None:
    job_id = sampled(database, samples=1, max_attempts=3)
    for version in ("", " 1"):
        assert call(database, resampling.sample_again, claimed(database), [f"key 0{version}"])
        store(database, claimed(database), " 1" if not version else " 2")
    assert not call(database, resampling.sample_again, claimed(database), ["key 0 2"])
    job = job_of(database, job_id)
    assert job.state is JobState.FAILED
    assert job.failure is not None
    assert job.failure.kind is FailureKind.DEPENDENCY
    assert "sample task 0 were found missing or damaged after 3 tries" in job.failure.message
    assert set(states_of(database, job_id)) <= {"succeeded", "failed", "cancelled"}


def test_a_job_that_is_to_stop_samples_nothing_again(database: Database) -> None:
    job_id = sampled(database)
    package = claimed(database)
    call(database, jobs.request_cancel, job_id)
    assert not call(database, resampling.sample_again, package, ["key 0"])
    assert job_of(database, job_id).state is JobState.CANCELLED
