"""Which task is claimed, and what it takes to find it."""

import threading
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, text, update
from sqlalchemy.orm import Session

from app.db import jobs, leases
from app.db.claim_query import WINDOW
from app.db.session import Database, now
from app.db.tables import JobRow, TaskRow
from app.domain.job import JobState, Lease, NewTask, Queue, TaskKind, TaskState
from app.domain.spec.job_spec import DistillationSpec
from app.domain.worker import Claimant
from bench.claims import fill
from tests.unit.app.stored import SPEC, claimed, job_of, prepared, states_of, submitted

WARM = SPEC.model_copy(update={"backbone": "warm", "dataset_uri": "file:///warm"})
WARM_BACKBONE = SPEC.model_copy(update={"backbone": "warm"})
WARM_DATA = SPEC.model_copy(update={"dataset_uri": "file:///warm"})
HOLDER = Claimant("w", backbones=frozenset({"warm"}), dataset_uris=frozenset({"file:///warm"}))


def claim(database: Database, claimant: Claimant) -> Lease | None:
    with database.transaction() as session:
        return leases.claim(session, claimant, 60.0)


def job_claimed(database: Database, claimant: Claimant) -> str | None:
    lease = claim(database, claimant)
    return lease.task.job_id if lease else None


def of_priority(priority: int) -> DistillationSpec:
    return SPEC.model_copy(update={"priority": priority})


def wait(database: Database, job_id: str, seconds: float) -> None:
    """As if the job's ready tasks had been ready for so long."""
    with database.transaction() as session:
        session.execute(update(TaskRow).where(TaskRow.job_id == job_id).values(ready_at=now() - seconds))


def test_a_job_of_higher_priority_comes_first(database: Database) -> None:
    low, high, middle = (submitted(database, of_priority(priority)) for priority in (0, 9, 5))
    assert [job_claimed(database, Claimant("w")) for _ in range(3)] == [high, middle, low]


def test_priority_comes_before_warmth_and_age(database: Database) -> None:
    warm, high = submitted(database, WARM), submitted(database, of_priority(1))
    wait(database, warm, 1000.0)
    assert [job_claimed(database, HOLDER) for _ in range(2)] == [high, warm]


def test_a_worker_prefers_what_it_holds_already(database: Database) -> None:
    ids = [submitted(database, spec) for spec in (SPEC, WARM_DATA, WARM_BACKBONE, WARM)]
    assert [job_claimed(database, HOLDER) for _ in range(4)] == ids[::-1]


def test_who_holds_nothing_takes_the_oldest(database: Database) -> None:
    ids = [submitted(database, spec) for spec in (SPEC, WARM_DATA, WARM_BACKBONE, WARM)]
    assert [job_claimed(database, Claimant("w")) for _ in range(4)] == ids


def test_what_has_waited_too_long_comes_before_what_is_warm(database: Database) -> None:
    late, later, warm = submitted(database), submitted(database), submitted(database, WARM)
    wait(database, late, 40.0)
    wait(database, later, 50.0)
    assert [job_claimed(database, HOLDER) for _ in range(3)] == [later, late, warm]


def test_a_worker_claims_only_of_its_queues(database: Database) -> None:
    job_id = prepared(database, samples=1)
    other = submitted(database)
    gpu, cpu = (Claimant("w", queues=frozenset({queue})) for queue in (Queue.GPU, Queue.CPU))
    assert job_claimed(database, cpu) == other
    assert job_claimed(database, cpu) is None
    assert job_claimed(database, gpu) == job_id
    assert job_claimed(database, gpu) is None


def test_tasks_that_nobody_may_claim_yet_hide_no_others(database: Database) -> None:
    late = [submitted(database, SPEC.model_copy(update={"deadline_seconds": 3600.0})) for _ in range(3)]
    fill(database, WINDOW * 2, job_count=1)
    with database.transaction() as session:
        session.execute(update(TaskRow).where(TaskRow.kind == TaskKind.SAMPLE).values(not_before=now() + 1000))
        session.execute(update(JobRow).where(JobRow.id.in_(late)).values(deadline_at=1.0))
    last = submitted(database)
    assert job_claimed(database, Claimant("w")) == last
    assert job_claimed(database, Claimant("w")) is None


def test_claimable_tasks_are_counted_by_queue(database: Database) -> None:
    fill(database, 30, job_count=2)
    submitted(database)
    expired = submitted(database, SPEC.model_copy(update={"deadline_seconds": 3600.0}))
    with database.transaction() as session:
        session.get_one(JobRow, expired).deadline_at = 1.0
    with database.reading() as session:
        assert leases.claimable(session) == {Queue.GPU: 30, Queue.CPU: 1}


@pytest.mark.postgres
@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
def test_a_job_that_another_holds_is_passed_over_for_one_as_good(database: Database) -> None:
    first, second = submitted(database), submitted(database)
    with database.transaction() as holder:
        jobs.lock(holder, first)
        assert job_claimed(database, Claimant("w")) == second


@pytest.mark.postgres
@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
def test_for_a_better_job_that_another_holds_it_is_worth_to_wait(database: Database) -> None:
    high, low = submitted(database, of_priority(9)), submitted(database)
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as holder:
            jobs.lock(holder, high)
            waiting = pool.submit(job_claimed, database, Claimant("w"))
            with pytest.raises(TimeoutError):
                waiting.result(0.3)
        assert waiting.result(10) == high
    assert job_claimed(database, Claimant("w")) == low


@pytest.mark.postgres
@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
def test_who_waited_for_a_task_that_was_taken_finds_another(database: Database) -> None:
    high, low = submitted(database, of_priority(9)), submitted(database)
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as holder:
            lease = leases.claim(holder, Claimant("first"), 60.0)
            waiting = pool.submit(job_claimed, database, Claimant("second"))
            with pytest.raises(TimeoutError):
                waiting.result(0.3)
        assert waiting.result(10) == low
    assert lease is not None
    assert lease.task.job_id == high


@pytest.mark.postgres
@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
def test_a_claim_that_waits_for_a_job_keeps_nobody_from_cancelling_it(database: Database) -> None:
    job_id = submitted(database)
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as canceller:
            jobs.lock(canceller, job_id)
            waiting = pool.submit(job_claimed, database, Claimant("w"))
            with pytest.raises(TimeoutError):
                waiting.result(0.5)
            jobs.request_cancel(canceller, job_id)
        assert waiting.result(10) is None
    assert states_of(database, job_id) == ["cancelled"]


# --- what a claim costs


@contextmanager
def statements_of(session: Session) -> Generator[list[tuple[str, Any]]]:
    seen: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        seen.append((statement, parameters))

    engine = session.get_bind().engine
    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def plans(database: Database, claimant: Claimant) -> list[Any]:
    """What the database says of how it finds the job and takes its task, in this order."""
    with database.transaction() as session:
        with statements_of(session) as seen:
            leases.claim(session, claimant, 60.0)
        session.rollback()
    seen = [(statement, values) for statement, values in seen if not statement.startswith(("BEGIN", "SAVEPOINT", "RELEASE"))]
    assert len(seen) == 4, [statement for statement, _ in seen]
    with database.transaction() as session:
        connection = session.connection()
        how = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)" if connection.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
        told = [connection.exec_driver_sql(f"{how} {statement}", values).all() for statement, values in seen[:2]]
        session.rollback()
    return told


def nodes(plan: Mapping[str, Any]) -> Generator[Mapping[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


CLAIMANTS = [Claimant("w"), Claimant("w", queues=frozenset({Queue.GPU}))]


@pytest.mark.parametrize("analyzed", [True, False], ids=["analyzed", "without statistics"])
@pytest.mark.parametrize("claimant", CLAIMANTS, ids=["all queues", "one queue"])
def test_a_claim_touches_few_rows_of_many(database: Database, kind: str, claimant: Claimant, analyzed: bool) -> None:
    fill(database, 20_000, job_count=20)
    if analyzed:
        with database.transaction() as session:
            session.execute(text("ANALYZE"))
    window, taken = plans(database, claimant)
    if kind == "postgres":
        _assert_few_rows(window[0][0][0]["Plan"], "tasks_ready")
        _assert_few_rows(taken[0][0][0]["Plan"], "tasks_unfinished")
    else:
        assert " tasks USING INDEX tasks_ready (queue=?)" in _details(window)
        assert _details(window).index(" tasks USING") < _details(window).index(" jobs USING INDEX sqlite_autoindex_jobs_1")
        assert "SEARCH tasks_1 USING INDEX tasks_unfinished (job_id=?)" in _details(taken)


def _assert_few_rows(plan: Mapping[str, Any], index: str) -> None:
    every = list(nodes(plan))
    rows = [(node["Node Type"], node["Actual Rows"] * node["Actual Loops"]) for node in every]
    passed_over = [(node["Node Type"], node.get("Rows Removed by Filter", 0)) for node in every]
    assert index in [node.get("Index Name") for node in every], rows
    assert max(count for _, count in rows + passed_over) <= WINDOW + 1, (rows, passed_over)
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 1000, rows


def _details(rows: list[Any]) -> str:
    return "\n".join(row[-1] for row in rows)


# --- one job, many workers


@pytest.mark.slow
def test_a_thousand_tasks_of_one_job_are_run_once_each_by_a_hundred_workers(database: Database) -> None:
    job_id = submitted(database)
    plan = [*(NewTask(TaskKind.SAMPLE, i, {}, 1) for i in range(1000)), NewTask(TaskKind.PACKAGE, 0, {})]
    with database.transaction() as session:
        leases.finish(session, _only(leases.claim(session, Claimant("w"), 60.0)), {}, then=plan)
    opened: list[TaskKind] = []
    gpu = frozenset({Queue.GPU})
    connections = threading.Semaphore(8)

    def claim_in_turn(worker: str) -> Lease | None:
        with connections:
            return claim(database, Claimant(worker, queues=gpu))

    def work(number: int) -> list[str]:
        done: list[str] = []
        while (lease := claim_in_turn(f"w{number}")) is not None:
            with connections, database.transaction() as session:
                opened.extend(task.kind for task in leases.finish(session, lease, {}))
            done.append(lease.task.id)
        return done

    with ThreadPoolExecutor(100) as pool:
        done = [task_id for found in pool.map(work, range(100)) for task_id in found]
    assert len(done) == len(set(done)) == 1000
    assert opened == [TaskKind.PACKAGE]
    assert states_of(database, job_id) == ["succeeded"] * 1001 + [TaskState.READY]
    assert job_of(database, job_id).state is JobState.RUNNING
    assert claimed(database).task.kind is TaskKind.PACKAGE


def _only(lease: Lease | None) -> Lease:
    assert lease is not None
    return lease
