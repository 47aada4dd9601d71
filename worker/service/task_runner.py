"""Claim a task, run its stage, and store what the stage returned or why it failed."""

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import structlog
from sqlalchemy.orm import Session

from app.db import expiry, leases
from app.db.session import Database
from app.domain.errors import DatabaseUnavailable, LeaseLost, SamplesDamaged, StorageUnavailable, TimedOut, TransientError
from app.domain.job import Lease, Outcome, Queue, Task, TaskKind
from app.domain.ports import TaskQueue
from app.domain.worker import ALL_QUEUES, Claimant
from app.settings import Settings
from app.tracing import Tracing
from worker.service.attempt_recorder import AttemptRecorder
from worker.service.lease_heartbeat import LeaseHeartbeat
from worker.service.scratch_folders import scratch_folder
from worker.service.worker_metrics import WorkerMetrics
from worker.stages.context import StageResult, TaskContext, WorkerContext
from worker.stages.evaluate import evaluate_arm
from worker.stages.package import package
from worker.stages.prepare import prepare
from worker.stages.sample import sample_classes

LOST = "lost"  # the outcome of an attempt whose lease another worker got meanwhile
FAILURES = (Outcome.FAILED, LOST)
DATASETS_REMEMBERED = 8  # datasets whose features this machine most likely still has in its cache

Stage = Callable[[TaskContext, WorkerContext], StageResult]
GiveUp = Callable[[Session, str], int]  # ends the leases of the workers whose names start with a prefix

STAGES: Mapping[TaskKind, Stage] = {
    TaskKind.PREPARE: prepare,
    TaskKind.SAMPLE: sample_classes,
    TaskKind.EVALUATE: evaluate_arm,
    TaskKind.PACKAGE: package,
}

log = structlog.get_logger()


class TaskRunner:
    """Runs one task at a time in this process.

    `stages` may be replaced to run other work under the same leases.

    `on_stuck` is called in another thread once a stage that makes no progress was recorded as
    failed. It must end the process, because the thread of the stage cannot be stopped.
    """

    def __init__(
        self,
        database: Database,
        worker: WorkerContext,
        queue: TaskQueue,
        *,
        name: str,
        queues: frozenset[Queue] = ALL_QUEUES,
        stopping: threading.Event,
        stages: Mapping[TaskKind, Stage] = STAGES,
        on_stuck: Callable[[], None] = lambda: None,
        metrics: WorkerMetrics | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._database = database
        self._worker = worker
        self._queue = queue
        self._name = name
        self._queues = queues
        self._stopping = stopping
        self._stages = stages
        self._on_stuck = on_stuck
        self.metrics = metrics or WorkerMetrics(worker.backbones, worker.cache)
        self._tracing = tracing or Tracing()
        self._recorder = AttemptRecorder(database, worker.settings)
        self._give_up: GiveUp | None = None  # how to end a task that this worker may still own
        self._store_answered_at = -math.inf
        self._datasets: deque[str] = deque(maxlen=DATASETS_REMEMBERED)  # URIs as jobs spell them, the latest at the end

    @property
    def _settings(self) -> Settings:
        return self._worker.settings

    def run_one(self) -> bool:
        """Claim and run the task that suits this worker best; False if there was none.

        If a call loses the database, or fails to record how a task ended, this worker may own a
        task without knowing it. The next call releases any such task before claiming. Where only
        the recording failed, the attempt counts, so that no task is tried for ever. Raises
        StorageUnavailable, without a claim, while the artifact store does not answer: a task whose
        result cannot be stored is not worth starting.
        """
        try:
            self._give_up_unfinished()
            self._require_store()
            lease = self._claim()
            if lease is not None:
                self._run(lease)
        except (DatabaseUnavailable, StorageUnavailable):
            self._give_up = self._give_up or expiry.release_worker
            raise
        except BaseException:
            self._give_up = expiry.expire_worker
            raise
        return lease is not None

    def _give_up_unfinished(self) -> None:
        if self._give_up is not None:
            with self._database.transaction() as session:
                self._give_up(session, self._name)
            self._give_up = None

    def _require_store(self) -> None:
        """Probe the store at most once per `outage_backoff_seconds`, so that each retry follows a
        fresh probe.
        """
        if time.monotonic() - self._store_answered_at >= self._settings.outage_backoff_seconds:
            self._database.ping()  # also finds tables that this version cannot use
            self._worker.store.check()
            self._store_answered_at = time.monotonic()

    def _claim(self) -> Lease | None:
        """In a transaction of its own: a claim may wait for the row of a job, and must hold no
        other row meanwhile.
        """
        claimant = Claimant(
            self._name,
            self._queues,
            self._worker.backbones.resident,
            frozenset(self._datasets),
            patience_seconds=self._settings.patience_seconds,
        )
        with self._database.transaction() as session:
            return leases.claim(session, claimant, self._settings.lease_seconds)

    def _run(self, lease: Lease) -> None:
        """One attempt at a task, with its log fields, its trace and its metrics."""
        task = lease.task
        with (
            structlog.contextvars.bound_contextvars(
                job_id=task.job_id, task_id=task.id, task=f"{task.kind}-{task.ordinal}", attempt=task.attempt, worker=self._name
            ),
            self._tracing.span(f"task {task.kind}", "consumer", lease.traceparent, **self._attributes(task)) as span,
        ):
            started = time.monotonic()
            outcome = self._attempt(lease)
            self.metrics.ended(task.kind, outcome, time.monotonic() - started)
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

    def _attempt(self, lease: Lease) -> str:
        """How the attempt ended: one of Outcome, or LOST."""
        log.info("task.started")
        self._remember(lease.spec.dataset_uri)
        started = time.monotonic()
        try:
            result = self._run_stage(lease)
            self._finish(lease, result, seconds=time.monotonic() - started)
            log.info("task.succeeded", seconds=round(time.monotonic() - started, 2))
        except LeaseLost as error:
            log.warning("task.lease_lost", reason=str(error))
            return LOST
        except Exception as error:  # noqa: BLE001 - whatever a stage raises ends as a recorded attempt
            return self._fail(lease, error)
        self.metrics.sampled(result.samples)
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
            ) as heartbeat,
        ):
            sampling = lease.task.kind is TaskKind.SAMPLE
            report = self.metrics.timing_steps(heartbeat.report) if sampling else heartbeat.report
            task = TaskContext(lease, self._earlier(lease.task), scratch, report)
            return self._stages[lease.task.kind](task, self._worker)

    def _earlier(self, task: Task) -> Mapping[TaskKind, Sequence[Task]]:
        """The finished tasks of the kinds before this one."""
        kinds = list(TaskKind)
        with self._database.reading() as session:
            return {kind: leases.task_outputs(session, task.job_id, kind) for kind in kinds[: kinds.index(task.kind)]}

    def _finish(self, lease: Lease, result: StageResult, *, seconds: float) -> None:
        ready = self._recorder.publish(lease, replace(result, output=replace(result.output, seconds=seconds)))
        for queue, count in Counter(task.kind.queue for task in ready).items():
            self._queue.wake(queue, count)

    def _fail(self, lease: Lease, error: Exception) -> str:
        """Record the error, wake the workers that may go on, then delete what the attempt stored.

        Returns the outcome.

        Nothing is deleted unless this worker still holds the lease: the attempt may have been
        published after all.
        """
        outcome = LOST
        if isinstance(error, StorageUnavailable):
            self._store_answered_at = -math.inf
        try:
            outcome = self._recorder.record_error(lease, error)
            self._queue.wake(lease.task.kind.queue)  # before the store, which may be away and then takes its time
            if isinstance(error, SamplesDamaged):
                self._queue.wake(TaskKind.SAMPLE.queue)
            self._worker.store.delete_prefix(lease.output_prefix)
        except (LeaseLost, StorageUnavailable) as trouble:
            log.warning("task.not_cleaned_up", reason=str(trouble))
        return outcome

    def _abandon_stuck(self, lease: Lease, error: TimedOut) -> None:
        """Record that the stage is stuck, then end the process.

        The sweep of orphaned artifacts removes what it stored.
        """
        try:
            self._recorder.record_error(lease, error)
            self._queue.wake(lease.task.kind.queue)
        except (LeaseLost, TransientError) as trouble:
            log.warning("task.not_given_up", reason=str(trouble))
        finally:
            self._on_stuck()
