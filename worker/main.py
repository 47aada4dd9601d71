"""The embedded runner: a child process of `dapple up` that polls the database for tasks."""

import os
import shutil
import signal
import sys
import threading

import structlog
import torch

from app.db.session import Database
from app.domain.errors import DatabaseUnavailable
from app.log import configure
from app.queue.polling import PollingQueue
from app.settings import Settings
from app.storage.local import LocalArtifactStore
from app.tracing import tracing_of
from worker.backbones.registry import BackboneRegistry, device_named, dtype_named
from worker.disk_cache import DiskCache
from worker.runner import Runner
from worker.stages.base import Bench
from worker.sweeper import sweep_until
from worker.telemetry import Telemetry, serve

log = structlog.get_logger()


def main() -> None:
    """Run tasks until SIGTERM, SIGINT, or the end of standard input: a child outlives no parent."""
    settings = Settings()
    configure(settings.log_level)
    torch.set_num_threads(settings.threads)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    threading.Thread(target=_stop_with_parent, args=(stopping,), name="parent-watch", daemon=True).start()
    database = Database(settings.sqlalchemy_url)
    bench = bench_for(settings)
    threading.Thread(target=sweep_until, args=(stopping, database, settings), name="sweeper", daemon=True).start()
    telemetry, tracing = Telemetry(bench.backbones, bench.cache), tracing_of("dapple-worker")
    serve(telemetry, settings)
    runner = Runner(
        database, bench, PollingQueue(), name=worker_name(), stopping=stopping, telemetry=telemetry, tracing=tracing
    )
    poll(runner, settings, stopping)
    tracing.close()
    database.dispose()


def bench_for(settings: Settings) -> Bench:
    """What this process keeps between tasks."""
    device = device_named(settings.device)
    if device.type == "cuda":
        torch.use_deterministic_algorithms(mode=True, warn_only=True)
    store = LocalArtifactStore(settings.artifacts_dir)
    store.sweep()
    # One runner per data folder: what lies here was left by one that was killed.
    shutil.rmtree(settings.scratch_dir, ignore_errors=True)
    backbones = BackboneRegistry(
        settings.backbone_roots,
        device,
        dtype=dtype_named(settings.dtype, device),
        compiled=settings.compile,
        memory_bytes=settings.backbone_memory_bytes,
    )
    return Bench(settings, store, backbones, device, DiskCache(settings.cache_dir, settings.cache_bytes))


def worker_name() -> str:
    """Unique to this process; the supervisor names its child so that it can end a dead child's leases."""
    return f"{os.environ.get('DAPPLE_WORKER_NAME', 'worker')}:{os.getpid()}"


def poll(runner: Runner, settings: Settings, stopping: threading.Event) -> None:
    """Run tasks one after another; look again every `poll_seconds` when there are none."""
    log.info("runner.ready", device=settings.device, threads=settings.threads)
    while not stopping.is_set():
        try:
            if runner.run_one():
                continue
        except DatabaseUnavailable as error:
            log.warning("runner.waiting", reason=str(error))
        stopping.wait(settings.poll_seconds)


def _stop_with_parent(stopping: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stopping.set()


if __name__ == "__main__":
    main()
