"""Claim a task, run it, store what it made, finish it; and decide what an exception means."""

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import structlog
from sqlalchemy.orm import Session

from app.db import resampling, tasks
from app.db.session import Database
from app.domain.errors import (
    Cancelled,
    DappleError,
    DatabaseUnavailable,
    LeaseLost,
    SamplesDamaged,
    StorageUnavailable,
    TimedOut,
    TransientError,
)
from app.domain.job import Lease, Outcome, Queue, Task, TaskKind
from app.domain.ports import TaskQueue
from app.domain.worker import ALL_QUEUES, Claimant
from app.settings import Settings
from app.tracing import Tracing, Untraced
from worker.service.failure_policy import UNRECORDED, classify_failure
from worker.service.lease_heartbeat import LeaseHeartbeat, ShuttingDown
from worker.service.scratch_folders import scratch_folder
from worker.service.worker_metrics import WorkerMetrics
from worker.stages.base import WorkerContext, StageResult, TaskContext
from worker.stages.evaluate import evaluate_arm
from worker.stages.package import package
from worker.stages.prepare import prepare
from worker.stages.sample import sample_classes

LOST = "lost"  # how an attempt ends whose lease was given to another worker meanwhile
FAILURES = (Outcome.FAILED, LOST)

log = structlog.get_logger()

Stage = Callable[[TaskContext, WorkerContext], StageResult]
GiveUp = Callable[[Session, str], int]  # ends the leases of workers whose names start so

FINISH_AGAIN_SECONDS = 0.5
DATASETS_REMEMBERED = 8  # whose real images' features this machine's cache still has, in all likelihood

STAGES: Mapping[TaskKind, Stage] = {
    TaskKind.PREPARE: prepare,
    TaskKind.SAMPLE: sample_classes,
    TaskKind.EVALUATE: evaluate_arm,
    TaskKind.PACKAGE: package,
}


class TaskRunner:
    """Runs one task at a time in this process. `stages` may be replaced to run other work under the same leases.

    `on_stuck` is called, in another thread, once a stage that shows no progress was recorded as failed: it must end the
    process, as the stage's thread cannot be stopped.
    """

    def __init__(
        self,
        database: Database,
        bench: WorkerContext,
        queue: TaskQueue,
        *,
        name: str,
        queues: frozenset[Queue] = ALL_QUEUES,
        stopping: threading.Event,
        stages: Mapping[TaskKind, Stage] = STAGES,
        on_stuck: Callable[[], None] = lambda: None,
        telemetry: WorkerMetrics | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._database = database
        self._bench = bench
        self._queue = queue
        self._name = name
        self._queues = queues
        self._stopping = stopping
        self._stages = stages
        self._on_stuck = on_stuck
        self.telemetry = telemetry or WorkerMetrics(bench.backbones, bench.cache)
        self._tracing = tracing or Untraced()
        self._give_up: GiveUp | None = None  # what to do about a task that this worker may still hold
        self._store_answered_at = -math.inf
        self._datasets: deque[str] = deque(maxlen=DATASETS_REMEMBERED)  # as jobs spell them, the last one last

    @property
    def _settings(self) -> Settings:
        return self._bench.settings

    def run_one(self) -> bool:
        """Claim and run the task that suits best; False if there was none.

        A call that lost the database, or failed to record how its task ended, may leave a task in this worker's name. The next
        call first releases such a task; where only the recording failed, it counts the attempt, so that no task is tried for
        ever. Raises StorageUnavailable, having claimed nothing, while the store does not answer: no task is worth starting
        whose result cannot be kept.
        """
        try:
            self._give_up_unfinished()
            return self._claim_and_run()
        except (DatabaseUnavailable, StorageUnavailable):
            self._give_up = self._give_up or tasks.release_worker
            raise
        except BaseException:
            self._give_up = tasks.expire_worker
            raise

    def _give_up_unfinished(self) -> None:
        if self._give_up is not None:
            with self._database.transaction() as session:
                self._give_up(session, self._name)
            self._give_up = None

    def _claim_and_run(self) -> bool:
        self._require_store()
        with self._database.transaction() as session:  # apart: who waits for a job's row, as a claim may, holds no other
            lease = tasks.claim(session, self._claimant(), self._settings.lease_seconds)
        if lease is not None:
            self._run_traced(lease)
        return lease is not None

    def _require_store(self) -> None:
        """An answer is good for as long as a task waits that met an outage, so whoever takes that one has looked again."""
        if time.monotonic() - self._store_answered_at >= self._settings.outage_backoff_seconds:
            self._database.ping()  # tables that this version cannot use
            self._bench.store.check()
            self._store_answered_at = time.monotonic()

    def _run_traced(self, lease: Lease) -> None:
        task = lease.task
        with (
            structlog.contextvars.bound_contextvars(
                job_id=task.job_id, task_id=task.id, task=f"{task.kind}-{task.ordinal}", attempt=task.attempt, worker=self._name
            ),
            self._tracing.span(f"task {task.kind}", "consumer", lease.traceparent, **self._attributes(task)) as span,
        ):
            started = time.monotonic()
            outcome = self._run(lease)
            self.telemetry.ended(task.kind, outcome, time.monotonic() - started)
            span.note(failed=outcome in FAILURES, **{"dapple.task.outcome": outcome})

    def _attributes(self, task: Task) -> dict[str, str | int]:
        return {
            "dapple.job.id": task.job_id,
            "dapple.task.id": task.id,
            "dapple.task.kind": task.kind.value,
            "dapple.task.ordinal": task.ordinal,
            "dapple.task.attempt": task.attempt,
            "dapple.worker": self._name,
        }

    def _claimant(self) -> Claimant:
        return Claimant(
            self._name,
            self._queues,
            self._bench.backbones.resident,
            frozenset(self._datasets),
            patience_seconds=self._settings.patience_seconds,
        )

    def _run(self, lease: Lease) -> str:
        """How it ended: one of Outcome, or LOST."""
        log.info("task.started")
        self._remember(lease.spec.dataset_uri)
        started = time.monotonic()
        try:
            done = self._run_stage(lease)
            self._finish(lease, done, seconds=time.monotonic() - started)
            log.info("task.succeeded", seconds=round(time.monotonic() - started, 2))
        except LeaseLost as error:
            log.warning("task.lease_lost", reason=str(error))
            return LOST
        except Exception as error:  # noqa: BLE001 - whatever a stage raises ends as a recorded attempt
            return self._end(lease, error)
        self.telemetry.sampled(done.samples)
        return Outcome.SUCCEEDED

    def _remember(self, dataset_uri: str) -> None:
        if dataset_uri in self._datasets:
            self._datasets.remove(dataset_uri)
        self._datasets.append(dataset_uri)

    def _run_stage(self, lease: Lease) -> StageResult:
        with (
            scratch_folder(self._settings.scratch_dir) as scratch,
            LeaseHeartbeat(
                self._database,
                lease,
                self._settings,
                self._stopping,
                worker=self._name,
                on_stuck=partial(self._abandon_stuck, lease),
            ) as holder,
        ):
            tick = self.telemetry.timing_steps(holder.tick) if lease.task.kind is TaskKind.SAMPLE else holder.tick
            work = TaskContext(lease, self._earlier(lease.task), scratch, tick)
            return self._stages[lease.task.kind](work, self._bench)

    def _earlier(self, task: Task) -> Mapping[TaskKind, Sequence[Task]]:
        kinds = list(TaskKind)
        with self._database.reading() as session:
            return {kind: tasks.task_outputs(session, task.job_id, kind) for kind in kinds[: kinds.index(task.kind)]}

    def _finish(self, lease: Lease, done: StageResult, *, seconds: float) -> None:
        ready = self._publish_patiently(lease, replace(done, output={**done.output, "seconds": seconds}))
        for queue, count in Counter(task.kind.queue for task in ready).items():
            self._queue.wake(queue, count)

    def _publish_patiently(self, lease: Lease, done: StageResult) -> Sequence[Task]:
        """The tasks that became ready. While the lease may last, a database that restarts does not cost what was made.

        Raises LeaseLost, also where a try before was committed and only the answer to it was lost.
        """
        deadline = time.monotonic() + self._settings.lease_seconds
        while True:
            try:
                return self._publish(lease, done)
            except DatabaseUnavailable as error:
                if time.monotonic() >= deadline:
                    raise
                log.warning("task.not_finished_yet", reason=error.reason)
            time.sleep(FINISH_AGAIN_SECONDS)

    def _publish(self, lease: Lease, done: StageResult) -> Sequence[Task]:
        with self._database.transaction() as session:
            if done.publication is None:
                return tasks.finish(session, lease, done.output, then=done.then, warnings=done.warnings)
            published = done.publication
            tasks.complete(
                session,
                lease,
                done.output,
                archive=published.archive,
                preview=published.preview,
                metrics=published.metrics,
                warnings=done.warnings,
            )
            return ()

    def _end(self, lease: Lease, error: Exception) -> str:
        """Record why the attempt ended, wake who may go on, then drop what was stored; how it ended, as `_run` says it.

        Only while the lease is still held: if not, the attempt may have been published after all.
        """
        outcome = LOST
        if isinstance(error, StorageUnavailable):
            self._store_answered_at = -math.inf
        try:
            outcome = self._record_somehow(lease, error)
            self._queue.wake(lease.task.kind.queue)  # first: a store that is away takes its time, and then raises
            if isinstance(error, SamplesDamaged):
                self._queue.wake(TaskKind.SAMPLE.queue)
            self._bench.store.delete_prefix(lease.output_prefix)
        except (LeaseLost, StorageUnavailable) as trouble:
            log.warning("task.not_cleaned_up", reason=str(trouble))
        return outcome

    def _abandon_stuck(self, lease: Lease, error: TimedOut) -> None:
        """Record that the stage is stuck, then end the process; what it stored is left to the sweep of orphans."""
        try:
            self._record_somehow(lease, error)
            self._queue.wake(lease.task.kind.queue)
        except (LeaseLost, TransientError) as trouble:
            log.warning("task.not_given_up", reason=str(trouble))
        finally:
            self._on_stuck()

    def _record_somehow(self, lease: Lease, error: Exception) -> Outcome:
        """A failure that cannot be recorded as it is, is recorded in other words. Raises LeaseLost or TransientError."""
        try:
            with self._database.transaction() as session:
                return self._record(session, lease, error)
        except (LeaseLost, TransientError):
            raise
        except Exception:
            log.exception("task.failure_not_recorded", failure=type(error).__name__)
        with self._database.transaction() as session:
            tasks.fail(session, lease, UNRECORDED, backoff_seconds=None)
        return Outcome.FAILED

    def _record(self, session: Session, lease: Lease, error: Exception) -> Outcome:
        match error:
            case ShuttingDown():
                log.info("task.released")
                tasks.release(session, lease)
                return Outcome.RELEASED
            case Cancelled():
                log.info("task.cancelled")
                tasks.cancelled(session, lease)
                return Outcome.CANCELLED
            case SamplesDamaged():
                log.warning("task.samples_damaged", keys=error.keys)
                resampling.sample_again(session, lease, error.keys)
                return Outcome.RELEASED
            case _:
                failure, again = classify_failure(error)
                unforeseen = None if isinstance(error, DappleError) else error
                log.warning("task.failed", kind=failure.kind.value, reason=failure.message, again=again, exc_info=unforeseen)
                tasks.fail(session, lease, failure, backoff_seconds=self._backoff(error) if again else None)
                return Outcome.FAILED

    def _backoff(self, error: Exception) -> float:
        outage = isinstance(error, StorageUnavailable)
        return self._settings.outage_backoff_seconds if outage else self._settings.retry_backoff_seconds
