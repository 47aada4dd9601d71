"""The parts that every worker process has, however it learns of tasks."""

import faulthandler
import gc
import os
import secrets
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

import structlog
import torch
from prometheus_client import CollectorRegistry

from app.db import workers
from app.db.session import Database
from app.domain.errors import DatabaseUnavailable, StorageUnavailable
from app.domain.job import Queue, TaskKind
from app.domain.ports import TaskQueue
from app.domain.worker import ALL_QUEUES, About
from app.settings import Settings
from app.storage.factory import store_for
from app.tracing import tracing_of
from worker.backbones.registry import BackboneRegistry, device_named, dtype_named, memory_bytes_of
from worker.datasets.library import DatasetLibrary
from worker.disk_cache import DiskCache
from worker.service.metrics_endpoint import serve
from worker.service.presence_heartbeat import PresenceHeartbeat
from worker.service.scratch_folders import remove_abandoned
from worker.service.task_runner import STAGES, Stage, TaskRunner
from worker.service.worker_metrics import WorkerMetrics
from worker.stages.context import WorkerContext

STORE_AGAIN_SECONDS = 2.0  # between two checks of a store that is unavailable
STUCK_EXIT_CODE = 75  # sysexits.h: EX_TEMPFAIL

log = structlog.get_logger()


class WorkerProcess:
    """The models, the data and the runner of one process, announced while the block runs.

    The announcement is in the database. Setting `stopping` makes the running task give its lease
    back at its next step, and makes `drain` return. `on_idle_beat` is called at the start and at
    every heartbeat while no task runs.

    A process whose task is stuck ends itself with STUCK_EXIT_CODE. If the stuck code lets no other
    thread run, the process ends with code 1. The program that started the process must start
    another one.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        queue: TaskQueue,
        *,
        name: str,
        queues: frozenset[Queue] = ALL_QUEUES,
        stages: Mapping[TaskKind, Stage] = STAGES,
        on_idle_beat: Callable[[], None] = lambda: None,
    ) -> None:
        torch.set_num_threads(settings.threads)
        self.stopping = threading.Event()
        self._worker = context_of_process(settings)
        self._queues = queues
        self._tracing = tracing_of("dapple-worker")
        self._metrics = WorkerMetrics(self._worker.backbones, self._worker.cache)
        self._runner = TaskRunner(
            database,
            self._worker,
            queue,
            name=name,
            queues=queues,
            stopping=self.stopping,
            stages=stages,
            on_stuck=self._leave,
            metrics=self._metrics,
            tracing=self._tracing,
        )
        self._database = database
        self._name = name
        self._on_idle_beat = on_idle_beat
        self._draining = threading.Lock()
        self._presence = PresenceHeartbeat(
            database, name, self._about, heartbeat_seconds=settings.heartbeat_seconds, on_beat=self._beat
        )
        log.info("worker.ready", worker=name, queues=sorted(queues), device=str(self._worker.device), threads=settings.threads)

    def __enter__(self) -> Self:
        serve(self.registry, self._worker.settings)
        self._presence.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stopping.set()
        with self._draining:  # the running task ends at its next step; the parts that it needs end only after it
            self._presence.__exit__(kind, error, trace)
        faulthandler.cancel_dump_traceback_later()
        self._tracing.close()
        gc.freeze()  # otherwise the interpreter scans all that torch has imported before it ends: seconds of a busy core

    @property
    def registry(self) -> CollectorRegistry:
        """The Prometheus metrics of this process."""
        return self._metrics.registry

    def drain(self) -> None:
        """Run ready tasks of this process's queues.

        Returns when none is left, a service is unavailable, or `stopping` is set.
        """
        with self._draining:
            try:
                while not self.stopping.is_set() and self._runner.run_one():
                    pass
            except DatabaseUnavailable as error:
                log.warning("worker.waiting", reason=error.reason)
            except StorageUnavailable as error:
                log.warning("worker.waiting", reason=str(error))
                self.stopping.wait(STORE_AGAIN_SECONDS)

    def _beat(self) -> None:
        # Code that never releases the interpreter stops every thread, including the heartbeats.
        # This timer needs no interpreter.
        settings = self._worker.settings
        faulthandler.dump_traceback_later(max(settings.stall_seconds.values()) + settings.lease_seconds, exit=True)
        if not self._draining.locked():
            self._on_idle_beat()

    def _leave(self) -> None:
        """End the process at once, without waiting for the thread of the stuck task.

        The log says where each thread is.
        """
        try:
            log.error("worker.stuck", exit_code=STUCK_EXIT_CODE, threads=_where_threads_are())
            with suppress(DatabaseUnavailable), self._database.transaction() as session:
                workers.gone(session, self._name)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:  # even if a step above fails: no disk for the file, no reader of the log
            os._exit(STUCK_EXIT_CODE)

    def _about(self) -> About:
        device = self._worker.device
        resident = tuple(sorted(self._worker.backbones.resident))
        return About(tuple(sorted(self._queues)), str(device), memory_bytes_of(device), resident)


def _where_threads_are() -> str:
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        return file.read()


def unique_name() -> str:
    """A name that no other process has at any time. It identifies leases and rows."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


def context_of_process(settings: Settings) -> WorkerContext:
    """The objects that a process keeps between tasks.

    Also removes what killed processes left on this machine.
    """
    device = device_named(settings.device)
    if device.type == "cuda":
        torch.use_deterministic_algorithms(mode=True, warn_only=True)
    remove_abandoned(settings.scratch_dir)
    backbones = BackboneRegistry(
        settings.backbone_roots,
        device,
        dtype=dtype_named(settings.dtype, device),
        compiled=settings.compile,
        memory_bytes=settings.backbone_memory_bytes,
    )
    return WorkerContext(settings, store_for(settings), backbones, device, DiskCache(settings.cache_dir, settings.cache_bytes))


def library_of(settings: Settings) -> DatasetLibrary:
    """The datasets of this machine, for a command that runs no tasks."""
    return DatasetLibrary(store_for(settings), DiskCache(settings.cache_dir, settings.cache_bytes), settings)
