import errno
import shutil
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from app.db import expiry, jobs, leases
from app.db.session import Database
from app.db.tables import TaskRow
from app.domain.errors import (
    BackboneRejected,
    BackboneUnavailable,
    DatabaseUnavailable,
    DatasetRejected,
    DeviceOutOfMemory,
    InvalidSpec,
    PermanentError,
    SamplesDamaged,
    StorageUnavailable,
    TimedOut,
    TransientError,
)
from app.domain.job import Failure, FailureKind, JobState, NewTask, Outcome, Queue, Task, TaskKind
from app.storage.local import LocalArtifactStore
from tests.unit.app.stored import SPEC, RecordingQueue, attempts_of, job_of, states_of, submitted
from tests.unit.worker.waiting import PATIENCE_SECONDS
from tests.waiting import wait_until
from worker.backbones.registry import BackboneRegistry
from worker.disk_cache import DiskCache
from worker.service.attempt_recorder import FINISH_AGAIN_SECONDS
from worker.service.failure_policy import UNRECORDED, classify_failure
from worker.service.task_runner import STAGES, TaskRunner
from worker.stages.context import Publication, StageResult, TaskContext, WorkerContext
from worker.stages.outputs import StageOutput

pytestmark = pytest.mark.slow

PREPARE, SAMPLE, EVALUATE, PACKAGE = TaskKind
PLAN = [NewTask(SAMPLE, 0, {}, 5), NewTask(SAMPLE, 1, {}, 5), NewTask(EVALUATE, 0, {}, 5), NewTask(PACKAGE, 0, {})]
Twist = Callable[[TaskContext], None]


@dataclass(frozen=True, kw_only=True)
class Stored(StageOutput):
    """Where a scripted stage has put its file."""

    key: str


class Stages:
    """Stages that do nothing but store a file, after a twist that a test may give to the tries of one kind."""

    def __init__(self) -> None:
        self.seen: list[TaskContext] = []
        self.twists: dict[TaskKind, list[Twist]] = {kind: [] for kind in TaskKind}

    def run(self, task: TaskContext, worker: WorkerContext) -> StageResult:
        self.seen.append(task)
        kind, file = task.lease.task.kind, task.scratch / "file"
        file.write_text(f"{kind} {task.lease.task.ordinal}")
        stored = worker.store.put(task.lease.output_prefix + "file", file, "text/plain")
        if self.twists[kind]:
            self.twists[kind].pop(0)(task)
        output = Stored(key=stored.key)
        if kind is PACKAGE:
            return StageResult(output, publication=Publication(stored, stored, {"accuracy": 97}))
        return StageResult(output, then=PLAN if kind is PREPARE else ())


class Service:
    """A database, a store and one runner with scripted stages."""

    def __init__(self, database, settings):
        self.database = database
        self.store = LocalArtifactStore(settings.artifacts_dir)
        self.queue = RecordingQueue()
        self.stages = Stages()
        self.stopping = threading.Event()
        device = torch.device("cpu")
        cache = DiskCache(settings.cache_dir, settings.cache_bytes)
        worker = WorkerContext(settings, self.store, BackboneRegistry((), device), device, cache)
        self.runner = self._runner(worker, "runner", self.stages)
        self.other_stages = Stages()
        self.other = self._runner(worker, "other", self.other_stages)
        self.worker = worker

    def _runner(self, worker: WorkerContext, name: str, stages: Stages) -> TaskRunner:
        every = dict.fromkeys(TaskKind, stages.run)
        return TaskRunner(self.database, worker, self.queue, name=name, stopping=self.stopping, stages=every)

    def drain(self):
        while self.runner.run_one():
            pass

    def twist(self, kind: TaskKind, *twists: Twist | Exception):
        """The first tries of a kind do this, or raise this."""
        self.stages.twists[kind] = [raising(twist) if isinstance(twist, Exception) else twist for twist in twists]

    def write(self, use, *args):
        with self.database.transaction() as session:
            return use(session, *args)

    def attempts(self, job_id, kind):
        with self.database.reading() as session:
            ids = {task.id for task in leases.of_job(session, job_id) if task.kind is kind}
            return [attempt for attempt in attempts_of(session, job_id) if attempt.task_id in ids]

    def outcomes(self, job_id, kind):
        return [attempt.outcome for attempt in self.attempts(job_id, kind)]

    def take_lease_away(self, _work):
        assert self.write(expiry.expire_worker, "runner") == 1


def stored_key(task: Task) -> str:
    assert task.output is not None
    return task.output["key"]


def raising(error: Exception) -> Twist:
    def twist(_task: TaskContext) -> None:
        raise error

    return twist


@pytest.fixture
def service(database, settings):
    return Service(database, settings)


def test_there_is_a_stage_for_every_kind_of_task():
    assert set(STAGES) == set(TaskKind)


def test_without_a_ready_task_nothing_is_run(service):
    assert service.runner.run_one() is False


def test_the_tasks_of_a_job_run_in_the_order_of_the_graph_and_the_last_one_publishes(service):
    job_id = submitted(service.database)
    service.drain()
    order = [(task.lease.task.kind, task.lease.task.ordinal) for task in service.stages.seen]
    assert order == [(PREPARE, 0), (SAMPLE, 0), (SAMPLE, 1), (EVALUATE, 0), (PACKAGE, 0)]
    job = job_of(service.database, job_id)
    assert (job.state, job.metrics) == (JobState.SUCCEEDED, {"accuracy": 97})
    assert job.archive is not None
    with service.store.open(job.archive.key) as archive:
        assert archive.read() == b"package 0"
    assert states_of(service.database, job_id) == ["succeeded"] * 5


def test_a_stage_sees_the_outputs_of_the_kinds_before_it(service):
    submitted(service.database)
    service.drain()
    seen = {task.lease.task.kind: task for task in service.stages.seen}
    assert list(seen[PREPARE].earlier) == []
    assert {kind: len(found) for kind, found in seen[PACKAGE].earlier.items()} == {PREPARE: 1, SAMPLE: 2, EVALUATE: 1}
    assert "key" in seen[SAMPLE].earlier[PREPARE][0].output
    assert all(task.output["seconds"] >= 0 for found in seen[PACKAGE].earlier.values() for task in found)


def test_the_scratch_folder_is_empty_at_first_and_gone_afterwards(service, settings):
    submitted(service.database)
    service.drain()
    folders = {task.scratch for task in service.stages.seen}
    assert len(folders) == 5
    assert not any(folder.exists() for folder in folders)
    assert {folder.parent for folder in folders} == {settings.scratch_dir}


def test_a_runner_goes_on_with_the_dataset_that_it_has_worked_on(service):
    """The other one has worked on the second job's dataset, so each keeps to its own while both wait."""
    uris = ("file:///a", "file:///b")
    specs = [SPEC.model_copy(update={"dataset_uri": uri}) for uri in uris]
    for spec, runner in zip(specs, (service.runner, service.other), strict=True):
        submitted(service.database, spec)
        while runner.run_one():
            pass
    for spec in specs * 3:
        submitted(service.database, spec)

    for _ in range(4):
        assert service.other.run_one()
        assert service.runner.run_one()

    for uri, stages in zip(uris, (service.stages, service.other_stages), strict=True):
        assert {task.spec.dataset_uri for task in stages.seen} == {uri}


def test_a_failed_try_is_followed_by_another_and_both_are_recorded(service):
    job_id = submitted(service.database)
    service.twist(SAMPLE, DeviceOutOfMemory("10 images do not fit"))
    service.drain()
    assert job_of(service.database, job_id).state is JobState.SUCCEEDED
    failed, *rest = service.attempts(job_id, SAMPLE)
    assert failed.failure == Failure(FailureKind.OUT_OF_MEMORY, "10 images do not fit")
    assert failed.outcome is Outcome.FAILED
    assert [attempt.outcome for attempt in rest] == [Outcome.SUCCEEDED] * 2


def test_after_the_last_attempt_the_job_fails_with_its_failure(service):
    job_id = submitted(service.database, SPEC.model_copy(update={"max_attempts": 2}))
    service.twist(SAMPLE, StorageUnavailable("the disk is full"), StorageUnavailable("the disk is still full"))
    service.drain()
    job = job_of(service.database, job_id)
    assert job.failure == Failure(FailureKind.DEPENDENCY, "the disk is still full")
    assert job.state is JobState.FAILED
    assert service.outcomes(job_id, SAMPLE) == [Outcome.FAILED] * 2
    assert states_of(service.database, job_id) == ["succeeded", "failed", "cancelled", "cancelled", "cancelled"]


@pytest.mark.parametrize(("error", "waits"), [(StorageUnavailable("no answer"), True), (BackboneUnavailable("broken"), False)])
def test_a_store_that_is_away_is_given_time_to_come_back(database, settings, error, waits):
    service = Service(database, settings.model_copy(update={"outage_backoff_seconds": 3600.0}))
    submitted(database)
    service.twist(PREPARE, error)
    assert service.runner.run_one()
    assert service.runner.run_one() is not waits


@pytest.mark.parametrize(
    "error", [InvalidSpec.of("classes", "no class 'cat'"), PermanentError("never"), ZeroDivisionError("x")]
)
def test_what_would_fail_again_is_tried_once(service, error):
    job_id = submitted(service.database)
    service.twist(PREPARE, error)
    service.drain()
    job = job_of(service.database, job_id)
    assert (job.state, job.failure) == (JobState.FAILED, classify_failure(error)[0])
    assert service.outcomes(job_id, PREPARE) == [Outcome.FAILED]


def test_a_failed_attempt_leaves_no_artifact(service):
    job_id = submitted(service.database)
    service.twist(PACKAGE, PermanentError("no"))
    service.drain()
    job = job_of(service.database, job_id)
    assert (job.state, job.archive, job.preview, job.metrics) == (JobState.FAILED, None, None, None)
    assert list(service.store.keys(service.stages.seen[-1].lease.output_prefix)) == []


def test_the_next_worker_is_woken_though_the_store_is_away(service, settings):
    submitted(service.database)

    def take_the_store_away(task: TaskContext) -> None:
        folder = settings.artifacts_dir / task.lease.output_prefix
        shutil.rmtree(folder)
        folder.touch()  # what is no folder cannot be emptied
        raise TransientError("once")

    service.twist(PREPARE, take_the_store_away)
    service.drain()
    assert service.queue.woken[0] == (Queue.CPU, 1)


def test_a_second_attempt_writes_under_keys_of_its_own_and_keeps_them(service):
    submitted(service.database)
    service.twist(PREPARE, TransientError("once"))
    service.drain()
    first, second = (task.lease.output_prefix for task in service.stages.seen[:2])
    assert first != second
    assert (list(service.store.keys(first)), list(service.store.keys(second))) == ([], [second + "file"])


def cancel_during(service, job_id, *, and_report):
    def twist(task: TaskContext) -> None:
        service.write(jobs.request_cancel, job_id)
        if and_report:
            task.report(1, 5)
            raise AssertionError("the report should have stopped the stage")

    return twist


@pytest.mark.parametrize("and_report", [True, False], ids=["at a report", "when it finishes"])
@pytest.mark.parametrize("kind", TaskKind)
def test_a_cancelled_job_stops_and_publishes_nothing(service, kind, and_report):
    job_id = submitted(service.database)
    service.twist(kind, cancel_during(service, job_id, and_report=and_report))
    service.drain()
    job, stopped = job_of(service.database, job_id), service.stages.seen[-1].lease
    assert (stopped.task.kind, job.state, job.archive, job.failure) == (kind, JobState.CANCELLED, None, None)
    assert service.outcomes(job_id, kind)[-1] is Outcome.CANCELLED
    assert list(service.store.keys(stopped.output_prefix)) == []
    assert "running" not in states_of(service.database, job_id)


class Unanswering(Database):
    """A database whose next answer to a commit gets lost, if `silent` is set."""

    silent = False

    @contextmanager
    def transaction(self):
        with super().transaction() as session:
            yield session
        if self.silent:
            self.silent = False
            raise DatabaseUnavailable("no answer")


def test_a_task_whose_claim_got_no_answer_is_not_left_to_its_lease(database, settings):
    unanswering = Unanswering(settings.sqlalchemy_url)
    service = Service(unanswering, settings)
    job_id = submitted(database)
    unanswering.silent = True
    with pytest.raises(DatabaseUnavailable):
        service.runner.run_one()
    assert service.runner.run_one()
    assert service.outcomes(job_id, PREPARE) == [Outcome.RELEASED, Outcome.SUCCEEDED]
    unanswering.dispose()


def test_a_worker_that_cannot_store_anything_claims_nothing(service, settings):
    job_id = submitted(service.database)
    settings.artifacts_dir.mkdir(parents=True, exist_ok=True)
    settings.artifacts_dir.rename(settings.data_dir / "away")
    settings.artifacts_dir.touch()  # where the folder was
    with pytest.raises(StorageUnavailable, match="cannot be written"):
        service.runner.run_one()
    assert states_of(service.database, job_id) == ["ready"]

    settings.artifacts_dir.unlink()
    assert service.runner.run_one()
    assert service.outcomes(job_id, PREPARE) == [Outcome.SUCCEEDED]


def test_a_worker_that_cannot_use_the_tables_claims_nothing(service):
    job_id = submitted(service.database)
    service.write(lambda session: session.execute(text("UPDATE alembic_version SET version_num = '0999'")))
    service.write(lambda session: session.execute(text("UPDATE installation SET oldest_revision = '0999'")))
    with pytest.raises(DatabaseUnavailable, match="newer version"):
        service.runner.run_one()
    assert states_of(service.database, job_id) == ["ready"]


def test_an_outage_of_the_store_costs_one_try_however_long_it_is(service, settings):
    job_id = submitted(service.database)
    away = settings.data_dir / "away"

    def take_the_store_away(_task: TaskContext) -> None:
        settings.artifacts_dir.rename(away)
        settings.artifacts_dir.touch()
        raise StorageUnavailable("for as long as it lasts")

    service.twist(PREPARE, take_the_store_away)
    assert service.runner.run_one()
    for _ in range(5):
        with pytest.raises(StorageUnavailable):
            service.runner.run_one()
    settings.artifacts_dir.unlink()
    away.rename(settings.artifacts_dir)
    assert service.runner.run_one()
    assert service.outcomes(job_id, PREPARE) == [Outcome.FAILED, Outcome.SUCCEEDED]


def rename(database: Database, before: str, after: str) -> None:
    """Every statement on the table `before` fails from now on, as on a database that is away."""
    with database.transaction() as session:
        session.execute(text(f"ALTER TABLE {before} RENAME TO {after}"))


def test_a_task_whose_end_got_no_answer_is_not_left_to_its_lease(service):
    job_id = submitted(service.database)

    def fail_without_a_database(_task: TaskContext) -> None:
        rename(service.database, "attempts", "away")
        raise TransientError("for as long as it lasts")

    service.twist(PREPARE, fail_without_a_database)
    with pytest.raises(DatabaseUnavailable):
        service.runner.run_one()
    rename(service.database, "away", "attempts")
    assert service.runner.run_one()
    assert service.outcomes(job_id, PREPARE) == [Outcome.RELEASED, Outcome.SUCCEEDED]


def test_what_was_made_outlives_a_restart_of_the_database(service):
    job_id = submitted(service.database)

    def take_the_database_away(_task: TaskContext) -> None:
        rename(service.database, "events", "away")
        threading.Timer(FINISH_AGAIN_SECONDS, rename, (service.database, "away", "events")).start()

    service.twist(PREPARE, take_the_database_away)
    assert service.runner.run_one()
    assert service.outcomes(job_id, PREPARE) == [Outcome.SUCCEEDED]
    assert len(service.stages.seen) == 1


@pytest.mark.parametrize("ending", ["return", "report", "raise"])
def test_a_worker_that_lost_its_lease_writes_nothing(service, ending):
    job_id = submitted(service.database)

    def lose_it(task: TaskContext) -> None:
        service.take_lease_away(task)
        assert service.other.run_one()
        if ending == "report":
            task.report(1, 5)
        if ending == "raise":
            raise PermanentError("too late to matter")

    service.twist(PREPARE, lose_it)
    assert service.runner.run_one()
    mine, others = service.stages.seen[0].lease, service.other_stages.seen[0].lease
    assert states_of(service.database, job_id) == ["succeeded", "ready", "ready", "waiting", "waiting"]
    with service.database.reading() as session:
        published = leases.task_outputs(session, job_id, PREPARE)[0].output
    assert published is not None
    assert published["key"].startswith(others.output_prefix)
    assert not published["key"].startswith(mine.output_prefix)
    assert service.outcomes(job_id, PREPARE) == [Outcome.EXPIRED, Outcome.SUCCEEDED]


def test_a_worker_that_shuts_down_gives_its_task_back_and_no_attempt_is_counted(service):
    job_id = submitted(service.database, SPEC.model_copy(update={"max_attempts": 1}))

    def shut_down(task: TaskContext) -> None:
        service.stopping.set()
        task.report(1, 5)

    service.twist(SAMPLE, shut_down, shut_down)
    for _ in range(3):
        service.runner.run_one()
    assert list(service.store.keys(service.stages.seen[-1].lease.output_prefix)) == []
    service.stopping.clear()
    service.drain()
    assert job_of(service.database, job_id).state is JobState.SUCCEEDED
    outcomes = service.outcomes(job_id, SAMPLE)
    assert (outcomes.count(Outcome.RELEASED), outcomes.count(Outcome.SUCCEEDED)) == (2, 2)


def test_damaged_samples_are_made_again_and_the_job_succeeds(service):
    job_id = submitted(service.database)

    def find_damage(task: TaskContext) -> None:
        raise SamplesDamaged([stored_key(task.earlier[SAMPLE][1])])

    service.twist(EVALUATE, find_damage)
    service.twist(PACKAGE, find_damage)
    service.drain()
    assert job_of(service.database, job_id).state is JobState.SUCCEEDED
    order = [(task.lease.task.kind, task.lease.task.ordinal) for task in service.stages.seen]
    assert order == [
        (PREPARE, 0),
        *((SAMPLE, 0), (SAMPLE, 1), (EVALUATE, 0)),
        *((SAMPLE, 1), (EVALUATE, 0), (PACKAGE, 0)),
        *((SAMPLE, 1), (PACKAGE, 0)),
    ]
    assert service.outcomes(job_id, PACKAGE) == [Outcome.RELEASED, Outcome.SUCCEEDED]
    assert service.queue.woken.count((Queue.GPU, 1)) >= 2


def test_a_failure_of_one_sample_task_stops_the_others_of_its_job(service):
    job_id = submitted(service.database)
    service.twist(SAMPLE, PermanentError("no"))
    service.drain()
    assert [task.lease.task.kind for task in service.stages.seen] == [PREPARE, SAMPLE]
    assert job_of(service.database, job_id).failure == Failure(FailureKind.INTERNAL, "no")


def test_another_job_runs_after_one_has_failed(service):
    first, second = submitted(service.database), submitted(service.database)
    service.twist(PREPARE, PermanentError("no"))
    service.drain()
    states = [job_of(service.database, job_id).state for job_id in (first, second)]
    assert states == [JobState.FAILED, JobState.SUCCEEDED]


@pytest.mark.parametrize(
    ("error", "kind", "again"),
    [
        (InvalidSpec.of("ipc", "too many"), FailureKind.INVALID_INPUT, False),
        (DatasetRejected("cat/1.png is no image"), FailureKind.INVALID_INPUT, False),
        (DeviceOutOfMemory("too large"), FailureKind.OUT_OF_MEMORY, True),
        (torch.OutOfMemoryError("too large"), FailureKind.OUT_OF_MEMORY, True),
        (MemoryError(), FailureKind.OUT_OF_MEMORY, True),
        (StorageUnavailable("the disk is full"), FailureKind.DEPENDENCY, True),
        (DatabaseUnavailable("locked"), FailureKind.DEPENDENCY, True),
        (TransientError("try again"), FailureKind.DEPENDENCY, True),
        (BackboneUnavailable("no weights"), FailureKind.DEPENDENCY, True),
        (BackboneRejected("overflow in float16"), FailureKind.INVALID_INPUT, False),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), FailureKind.OUT_OF_MEMORY, True),
        (OSError(errno.ENOSPC, "No space left on device", "samples.npz"), FailureKind.DEPENDENCY, True),
        (RuntimeError("shape mismatch"), FailureKind.INTERNAL, False),
        (PermanentError("never"), FailureKind.INTERNAL, False),
        (KeyError("secret"), FailureKind.INTERNAL, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_the_verdict_on_an_exception(error, kind, again):
    failure, tried_again = classify_failure(error)
    assert (failure.kind, tried_again) == (kind, again)
    assert failure.message


def test_an_unforeseen_error_tells_the_user_its_type_and_not_its_text():
    message = classify_failure(KeyError("secret"))[0].message
    assert "KeyError" in message
    assert "secret" not in message


def waiting_for(event: threading.Event) -> Twist:
    def twist(_task: TaskContext) -> None:
        assert event.wait(PATIENCE_SECONDS)

    return twist


def test_a_stuck_stage_is_recorded_as_a_timeout_its_task_tried_elsewhere_and_its_process_told_to_end(database, settings):
    limits = {"stall_seconds": dict.fromkeys(TaskKind, 0.1), "heartbeat_seconds": 0.02}
    service = Service(database, settings.model_copy(update=limits))
    job_id = submitted(database)
    stuck = threading.Event()
    stages = dict.fromkeys(TaskKind, service.stages.run)
    runner = TaskRunner(
        database, service.worker, service.queue, name="gpu-7", stopping=service.stopping, stages=stages, on_stuck=stuck.set
    )
    service.twist(PREPARE, waiting_for(stuck))
    runner.run_one()
    assert stuck.is_set()
    (attempt,) = service.attempts(job_id, PREPARE)
    failure = Failure(FailureKind.TIMEOUT, "prepare task 0 made no progress for 0.1 s on worker gpu-7")
    assert (attempt.outcome, attempt.failure) == (Outcome.FAILED, failure)
    assert (Queue.CPU, 1) in service.queue.woken
    assert service.other.run_one()
    assert service.outcomes(job_id, PREPARE) == [Outcome.FAILED, Outcome.SUCCEEDED]


def test_a_job_whose_stage_is_stuck_at_every_try_fails_naming_the_worker(database, settings):
    limits = {"stall_seconds": dict.fromkeys(TaskKind, 0.05), "heartbeat_seconds": 0.02}
    service = Service(database, settings.model_copy(update=limits))
    job_id = submitted(database, SPEC.model_copy(update={"max_attempts": 2}))
    service.twist(PREPARE, *[lambda task: wait_until(lambda: task.lease.task.id not in running(database))] * 2)
    service.drain()
    job = job_of(database, job_id)
    assert job.failure == Failure(FailureKind.TIMEOUT, "prepare task 0 made no progress for 0.05 s on worker runner")
    assert (job.state, len(service.attempts(job_id, PREPARE))) == (JobState.FAILED, 2)


def running(database):
    """Ids of the tasks that hold a lease."""
    with database.reading() as session:
        return set(session.scalars(select(TaskRow.id).where(TaskRow.state == "running")))


def test_a_process_whose_stage_is_stuck_ends_though_the_database_is_away(database, settings):
    limits = {"stall_seconds": dict.fromkeys(TaskKind, 0.05), "heartbeat_seconds": 0.02}
    service = Service(database, settings.model_copy(update=limits))
    submitted(database)
    stuck = threading.Event()
    stages = dict.fromkeys(TaskKind, service.stages.run)
    runner = TaskRunner(
        database, service.worker, service.queue, name="w", stopping=service.stopping, stages=stages, on_stuck=stuck.set
    )

    def hang(_task: TaskContext) -> None:
        rename(database, "attempts", "away")
        assert stuck.wait(PATIENCE_SECONDS)
        rename(database, "away", "attempts")

    service.twist(PREPARE, hang)
    runner.run_one()
    assert stuck.is_set()


def test_a_try_that_takes_longer_than_its_kind_may_is_a_timeout(database, settings):
    service = Service(database, settings.model_copy(update={"task_seconds": dict.fromkeys(TaskKind, 1e-9)}))
    job_id = submitted(database)
    service.twist(PREPARE, lambda task: task.report(1, 5))
    assert service.runner.run_one()
    (attempt,) = service.attempts(job_id, PREPARE)
    assert attempt.failure == Failure(FailureKind.TIMEOUT, "prepare task 0 did not end within 1e-09 s on worker runner")
    assert classify_failure(TimedOut("slow")) == (Failure(FailureKind.TIMEOUT, "slow"), True)


def refuse(database, condition: str) -> None:
    """Make the database refuse such ends of attempts as it does what it cannot store: with an error that is no outage."""
    with database.transaction() as session:
        session.execute(
            text(f"CREATE TRIGGER refused BEFORE UPDATE ON attempts WHEN {condition} BEGIN SELECT RAISE(ABORT, 'refused'); END")
        )


LATIN1 = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")


@pytest.mark.parametrize("error", [DatasetRejected(f"{LATIN1}: damaged\0"), OSError(5, f"{LATIN1}: damaged\0")])
def test_a_failure_that_speaks_of_any_file_name_is_recorded_readably(service, error):
    job_id = submitted(service.database)
    service.twist(PREPARE, *[error] * 3)
    service.drain()
    job = job_of(service.database, job_id)
    assert job.state is JobState.FAILED
    assert job.failure is not None
    assert job.failure.message.endswith(r"caf\xe9.jpg: damaged\x00")


def test_a_failure_that_cannot_be_recorded_as_it_is_is_recorded_in_other_words(service):
    job_id = submitted(service.database)
    refuse(service.database, "NEW.failure_message = 'unspeakable'")
    service.twist(PREPARE, DatasetRejected("unspeakable"))
    service.drain()
    assert job_of(service.database, job_id).failure == UNRECORDED
    assert service.outcomes(job_id, PREPARE) == [Outcome.FAILED]


def test_an_exception_without_words_of_its_own_is_recorded_in_other_words(service):
    class Mute(DatasetRejected):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    job_id = submitted(service.database)
    service.twist(PREPARE, Mute())
    service.drain()
    assert job_of(service.database, job_id).failure == UNRECORDED


def test_a_task_whose_failures_cannot_be_recorded_at_all_ends_after_its_attempts(service):
    job_id = submitted(service.database)
    refuse(service.database, "NEW.outcome = 'failed'")
    tries = SPEC.max_attempts
    service.twist(PREPARE, *[DatasetRejected("unspeakable")] * 2 * tries)
    for _ in range(tries):
        with pytest.raises(IntegrityError, match="refused"):
            service.runner.run_one()
    service.drain()
    job = job_of(service.database, job_id)
    assert job.state is JobState.FAILED
    assert job.failure is not None
    assert job.failure.kind is FailureKind.CRASHED
    assert service.outcomes(job_id, PREPARE) == [Outcome.EXPIRED] * tries


def test_an_outage_before_the_attempt_was_counted_does_not_make_it_free(service):
    job_id = submitted(service.database)
    refuse(service.database, "NEW.outcome = 'failed'")
    service.twist(PREPARE, DatasetRejected("unspeakable"))
    with pytest.raises(IntegrityError, match="refused"):
        service.runner.run_one()
    rename(service.database, "attempts", "away")
    with pytest.raises(DatabaseUnavailable):
        service.runner.run_one()
    rename(service.database, "away", "attempts")
    service.drain()
    assert service.outcomes(job_id, PREPARE)[0] is Outcome.EXPIRED
