from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.db import events, expiry, jobs, leases
from app.db.session import Database
from app.db.tables import JobRow, TaskRow
from app.domain.errors import Cancelled, LeaseLost
from app.domain.job import (
    Failure,
    FailureKind,
    JobState,
    JobWarning,
    Lease,
    NewTask,
    Outcome,
    Phase,
    Progress,
    TaskKind,
    WarningCode,
)
from app.domain.worker import Claimant
from tests.unit.app.stored import ARTIFACT, SPEC, attempts_of, claimed, job_of, prepared, states_of, submitted, succeeded

CRASH = Failure(FailureKind.CRASHED, "boom")


def call(database: Database, use: Callable[..., Any], *args: Any, **options: Any) -> Any:
    with database.transaction() as session:
        return use(session, *args, **options)


def event_types(database: Database, job_id: str) -> list[str]:
    with database.reading() as session:
        return [event.type for event in events.after(session, job_id, 0)]


def outcomes(database: Database, job_id: str) -> list[Outcome | None]:
    with database.reading() as session:
        return [attempt.outcome for attempt in attempts_of(session, job_id)]


def complete(session: Session, lease: Lease) -> None:
    leases.complete(session, lease, {}, archive=ARTIFACT, preview=ARTIFACT, metrics={})


def test_a_claim_starts_the_job(database: Database) -> None:
    job_id = submitted(database)
    lease = claimed(database, "w1")
    job = job_of(database, job_id)
    assert (lease.task.kind, lease.task.attempt, lease.spec) == (TaskKind.PREPARE, 1, SPEC)
    assert (job.state, job.phase) == (JobState.RUNNING, Phase.PREPARING)
    assert job.started_at is not None
    assert event_types(database, job_id) == ["job.queued", "job.running", "job.phase", "task.started"]


def test_the_oldest_ready_task_is_claimed_first(database: Database) -> None:
    first, second = submitted(database), submitted(database)
    assert [claimed(database).task.job_id, claimed(database).task.job_id] == [first, second]


def test_there_is_nothing_to_claim_where_nothing_is_ready(database: Database) -> None:
    assert call(database, leases.claim, Claimant("w"), 60) is None
    submitted(database)
    claimed(database)
    assert call(database, leases.claim, Claimant("w"), 60) is None


def test_every_task_is_claimed_by_exactly_one_of_many_threads(database: Database) -> None:
    prepared(database, samples=24)

    def take_all(worker: int) -> list[str]:
        taken: list[str] = []
        while (lease := call(database, leases.claim, Claimant(f"w{worker}"), 60)) is not None:
            taken.append(lease.task.id)
        return taken

    with ThreadPoolExecutor(6) as pool:
        taken = [task_id for found in pool.map(take_all, range(6)) for task_id in found]
    assert len(taken) == len(set(taken)) == 24


def test_of_tasks_that_finish_together_only_the_last_opens_the_next_stage(database: Database) -> None:
    prepared(database, samples=6)
    held = [claimed(database) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        opened = list(pool.map(lambda lease: call(database, leases.finish, lease, {}), held))
    assert sorted(map(len, opened)) == [0, 0, 0, 0, 0, 1]


def test_a_job_past_its_deadline_is_not_started_but_expires(database: Database) -> None:
    job_id = submitted(database, SPEC.model_copy(update={"deadline_seconds": 3600.0}))
    with database.transaction() as session:
        session.get_one(JobRow, job_id).deadline_at = 0.0
    assert call(database, leases.claim, Claimant("w"), 60) is None
    assert call(database, expiry.expire, 0) == 1
    job = job_of(database, job_id)
    assert job.state is JobState.EXPIRED
    assert job.failure is not None
    assert job.failure.kind is FailureKind.TIMEOUT
    assert states_of(database, job_id) == ["cancelled"]


def test_a_job_that_started_in_time_has_no_deadline_any_more(database: Database) -> None:
    job_id = submitted(database, SPEC.model_copy(update={"deadline_seconds": 3600.0}))
    claimed(database)
    assert call(database, expiry.expire, 0) == 0
    assert job_of(database, job_id).state is JobState.RUNNING


def test_finishing_the_last_of_a_kind_makes_the_next_kind_ready(database: Database) -> None:
    job_id = prepared(database, samples=2, evaluations=2)
    first, second = claimed(database), claimed(database)
    assert call(database, leases.finish, first, {"a": 1}) == []
    assert len(call(database, leases.finish, second, {"a": 2})) == 2
    assert states_of(database, job_id) == ["succeeded"] * 3 + ["ready"] * 2 + ["waiting"]
    with database.reading() as session:
        assert [task.output for task in leases.task_outputs(session, job_id, TaskKind.SAMPLE)] == [{"a": 1}, {"a": 2}]


def test_a_kind_without_tasks_is_passed_over(database: Database) -> None:
    job_id = prepared(database, samples=1, evaluations=0)
    call(database, leases.finish, claimed(database), {})
    assert states_of(database, job_id) == ["succeeded", "succeeded", "ready"]
    assert claimed(database).task.kind is TaskKind.PACKAGE
    assert job_of(database, job_id).phase is Phase.PACKAGING


def test_the_last_task_publishes_the_job(database: Database) -> None:
    job_id = succeeded(database)
    job = job_of(database, job_id)
    assert (job.state, job.phase, job.archive, job.preview) == (JobState.SUCCEEDED, None, ARTIFACT, ARTIFACT)
    assert job.metrics == {"guided": {"mean": 97.1}}
    assert job.finished_at is not None
    assert event_types(database, job_id)[-2:] == ["task.succeeded", "job.succeeded"]


def test_renewing_keeps_a_lease_from_expiring(database: Database) -> None:
    submitted(database)
    lease = claimed(database, lease_seconds=-1)
    assert call(database, leases.renew, lease, 60, None) is False
    assert call(database, expiry.expire, 0) == 0


def test_an_expired_lease_is_claimed_by_another_worker(database: Database) -> None:
    job_id = submitted(database)
    first = claimed(database, "w1", lease_seconds=-1)
    assert call(database, expiry.expire, 0) == 1
    second = claimed(database, "w2")
    assert (second.task.id, second.task.attempt) == (first.task.id, 2)
    assert second.output_prefix != first.output_prefix
    assert outcomes(database, job_id) == [Outcome.EXPIRED, None]
    assert "task.retried" in event_types(database, job_id)


@pytest.mark.parametrize("kind", [pytest.param("postgres", marks=pytest.mark.postgres)])  # SQLite has one writer at a time
def test_a_process_that_stopped_inside_a_transaction_keeps_no_lease_of_others_from_expiring(database: Database) -> None:
    for _ in range(2):
        submitted(database)
    stopped, _crashed = (claimed(database, name, lease_seconds=-1) for name in ("stopped", "crashed"))
    with database.transaction() as session:
        jobs.lock(session, stopped.task.job_id)
        assert call(database, expiry.expire, 0) == 1
    assert call(database, expiry.expire, 0) == 1


@pytest.mark.parametrize(
    "write",
    [
        lambda session, lease: leases.renew(session, lease, 60, Progress(1, 2)),
        lambda session, lease: leases.cancel_requested(session, lease),
        lambda session, lease: leases.finish(session, lease, {}, then=[NewTask(TaskKind.PACKAGE, 0, {})]),
        lambda session, lease: complete(session, lease),
        lambda session, lease: leases.fail(session, lease, CRASH, backoff_seconds=None),
        lambda session, lease: leases.release(session, lease),
        lambda session, lease: leases.cancelled(session, lease),
    ],
    ids=["renew", "cancel_requested", "finish", "complete", "fail", "release", "cancelled"],
)
@pytest.mark.parametrize("meanwhile", ["expired", "claimed again", "deleted"])
def test_who_lost_the_lease_can_change_nothing(
    database: Database, write: Callable[[Session, Lease], object], meanwhile: str
) -> None:
    job_id = submitted(database)
    stale = claimed(database, "w1", lease_seconds=-1)
    call(database, expiry.expire, 0)
    if meanwhile == "claimed again":
        claimed(database, "w2")
    if meanwhile == "deleted":
        call(database, jobs.request_cancel, job_id)
        call(database, jobs.delete, job_id)
    before = [] if meanwhile == "deleted" else (job_of(database, job_id), states_of(database, job_id))
    with pytest.raises(LeaseLost):
        call(database, write, stale)
    assert before == [] or (job_of(database, job_id), states_of(database, job_id)) == before


def test_crashes_are_tried_again_later_and_later_then_fail_the_job(database: Database) -> None:
    job_id = submitted(database)
    waits: list[float] = []
    for worker in ("w1", "w2", "w3"):
        lease = claimed(database, worker, lease_seconds=-1)
        call(database, expiry.expire, 1000.0)
        with database.transaction() as session:
            row = session.get_one(TaskRow, lease.task.id)
            waits.append(row.not_before)
            row.not_before = 0.0
    job = job_of(database, job_id)
    assert waits[0] < waits[1] - 900
    assert job.state is JobState.FAILED
    assert job.failure is not None
    assert job.failure.kind is FailureKind.CRASHED
    assert all(name in job.failure.message for name in ("w1", "w2", "w3"))
    assert outcomes(database, job_id) == [Outcome.EXPIRED] * 3


def test_a_retried_task_is_not_claimed_before_its_time(database: Database) -> None:
    submitted(database)
    assert call(database, leases.fail, claimed(database), CRASH, backoff_seconds=1000.0) is True
    assert call(database, leases.claim, Claimant("w"), 60) is None


def test_a_task_is_retried_at_once_where_no_backoff_is_asked(database: Database) -> None:
    submitted(database)
    lease = claimed(database)
    assert call(database, leases.fail, lease, CRASH, backoff_seconds=0) is True
    assert claimed(database).task.id == lease.task.id


def test_the_last_allowed_attempt_fails_the_job_with_its_failure(database: Database) -> None:
    job_id = submitted(database, SPEC.model_copy(update={"max_attempts": 2}))
    assert call(database, leases.fail, claimed(database), CRASH, backoff_seconds=0) is True
    assert call(database, leases.fail, claimed(database), CRASH, backoff_seconds=0) is False
    assert job_of(database, job_id).failure == CRASH
    assert states_of(database, job_id) == ["failed"]


def test_a_failing_task_ends_its_siblings(database: Database) -> None:
    job_id = prepared(database, samples=3)
    failing, running = claimed(database), claimed(database)
    assert call(database, leases.fail, failing, CRASH, backoff_seconds=None) is False
    assert states_of(database, job_id) == ["succeeded", "failed", "cancelled", "cancelled", "cancelled"]
    assert job_of(database, job_id).state is JobState.FAILED
    with pytest.raises(LeaseLost):
        call(database, leases.renew, running, 60, None)
    assert outcomes(database, job_id) == [Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED]
    assert event_types(database, job_id)[-1] == "job.failed"


@pytest.mark.parametrize(
    "end", [leases.release, lambda session, _lease: expiry.expire(session, 0)], ids=["released", "expired"]
)
def test_a_task_that_is_tried_again_keeps_its_place_among_those_that_have_waited_too_long(
    database: Database, end: Callable[[Session, Lease], object]
) -> None:
    first_job = submitted(database)
    lease = claimed(database, lease_seconds=-1)
    submitted(database)
    call(database, end, lease)
    again = call(database, leases.claim, Claimant("w", patience_seconds=0), 60)
    assert again.task.job_id == first_job


def test_a_released_task_is_ready_at_once_and_nothing_counts_against_it(database: Database) -> None:
    job_id = submitted(database, SPEC.model_copy(update={"max_attempts": 1}))
    for _ in range(3):
        call(database, leases.release, claimed(database))
    assert claimed(database).task.attempt == 4
    assert outcomes(database, job_id) == [Outcome.RELEASED] * 3 + [None]
    assert job_of(database, job_id).state is JobState.RUNNING


def test_a_worker_learns_that_the_job_is_to_stop(database: Database) -> None:
    job_id = submitted(database)
    lease = claimed(database)
    assert call(database, leases.cancel_requested, lease) is False
    call(database, jobs.request_cancel, job_id)
    assert call(database, leases.cancel_requested, lease) is True
    assert call(database, leases.renew, lease, 60, None) is True


def test_nothing_is_published_of_a_job_that_is_to_stop(database: Database) -> None:
    job_id = prepared(database, samples=1)
    sample = claimed(database)
    call(database, jobs.request_cancel, job_id)
    with pytest.raises(Cancelled):
        call(database, leases.finish, sample, {"out": 1})
    with pytest.raises(Cancelled):
        call(database, complete, sample)
    call(database, leases.cancelled, sample)
    job = job_of(database, job_id)
    assert (job.state, job.archive) == (JobState.CANCELLED, None)
    assert states_of(database, job_id) == ["succeeded", "cancelled", "cancelled"]


def test_a_job_is_cancelled_when_its_last_running_task_has_stopped(database: Database) -> None:
    job_id = prepared(database, samples=2)
    first, second = claimed(database), claimed(database)
    call(database, jobs.request_cancel, job_id)
    call(database, leases.cancelled, first)
    assert job_of(database, job_id).state is JobState.CANCELLING
    call(database, leases.cancelled, second)
    assert job_of(database, job_id).state is JobState.CANCELLED


@pytest.mark.parametrize(
    "ending",
    [
        lambda session, lease: leases.release(session, lease),
        lambda session, lease: leases.fail(session, lease, CRASH, backoff_seconds=0),
        lambda session, lease: expiry.expire_worker(session, "w"),
    ],
    ids=["release", "fail", "expire"],
)
def test_a_job_that_is_to_stop_is_not_tried_again(database: Database, ending: Callable[[Session, Lease], object]) -> None:
    job_id = submitted(database)
    lease = claimed(database, "w")
    call(database, jobs.request_cancel, job_id)
    call(database, ending, lease)
    assert job_of(database, job_id).state is JobState.CANCELLED
    assert states_of(database, job_id) == ["cancelled"]


def test_nobody_cancels_a_task_unasked(database: Database) -> None:
    job_id = submitted(database)
    with pytest.raises(LeaseLost):
        call(database, leases.cancelled, claimed(database))
    assert job_of(database, job_id).state is JobState.RUNNING


def test_only_leases_of_the_dead_process_are_ended(database: Database) -> None:
    prepared(database, samples=3)
    claimed(database, "embedded_1:7")
    claimed(database, "embeddedX1:7")
    claimed(database, "other")
    assert call(database, expiry.expire_worker, "embedded_1:") == 1
    assert claimed(database).task.attempt == 2


def test_a_stopped_machine_counts_as_no_failure_of_its_tasks(database: Database) -> None:
    job = prepared(database, samples=1)
    for attempt in range(1, 6):
        assert claimed(database, "embedded:1").task.attempt == attempt
        assert call(database, expiry.release_worker, "embedded:") == 1
    assert {one.outcome for one in call(database, attempts_of, job)[1:]} == {Outcome.RELEASED}


def test_progress_moves_and_never_falls(database: Database) -> None:
    job_id = prepared(database, samples=1)
    lease = claimed(database)
    told: list[tuple[int, int]] = []
    for progress in (Progress(5, 50), Progress(40, 100), Progress(3, 50), Progress(90, 100), Progress(999, 100)):
        call(database, leases.renew, lease, 60, progress)
        with database.reading() as session:
            stored = leases.of_job(session, job_id)[1].progress
            told.append((stored.done, stored.total))
    assert told == [(5, 50), (40, 100), (40, 100), (90, 100), (100, 100)]


def test_progress_does_not_change_the_version_but_state_does(database: Database) -> None:
    job_id = submitted(database)
    versions = [job_of(database, job_id).version]
    lease = claimed(database)
    versions.append(job_of(database, job_id).version)
    call(database, leases.renew, lease, 60, Progress(1, 2))
    versions.append(job_of(database, job_id).version)
    assert versions[0] < versions[1] == versions[2]


def test_a_jobs_warnings_are_those_of_its_tasks_each_once_with_an_event(database: Database) -> None:
    job_id = submitted(database)
    left_out = JobWarning(WarningCode.DATASET_LEFT_OUT, "2 files were left out")
    doubtful = JobWarning(WarningCode.DATASET_DOUBTFUL, "read as one class")
    lease = claimed(database)
    call(database, leases.finish, lease, {}, then=[NewTask(TaskKind.PACKAGE, 0, {})], warnings=[left_out, left_out])
    assert job_of(database, job_id).warnings == (left_out,)
    with database.reading() as session:
        assert [task.warnings for task in leases.task_outputs(session, job_id, TaskKind.PREPARE)] == [(left_out, left_out)]
    lease = claimed(database)
    with database.transaction() as session:
        leases.complete(session, lease, {}, archive=ARTIFACT, preview=ARTIFACT, metrics={}, warnings=[left_out, doubtful])
    assert job_of(database, job_id).warnings == (left_out, doubtful)
    assert event_types(database, job_id).count("job.warning") == 2
