"""Prometheus metrics of a worker: its tasks, and the backbones and features that it caches."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.domain.job import TaskKind
from worker.backbones.registry import BackboneRegistry
from worker.disk_cache import DiskCache
from worker.progress import ReportProgress

TASK_SECONDS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
STEP_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 40)


class WorkerMetrics:
    """The metrics of one worker process, in a registry of its own."""

    def __init__(self, backbones: BackboneRegistry, cache: DiskCache) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(Kept(backbones, cache))
        ProcessCollector(registry=self.registry)
        self._tasks = Histogram(
            "dapple_task_duration_seconds",
            "Time of an attempt at a task, from claim to end.",
            ("kind", "outcome"),
            buckets=TASK_SECONDS,
            registry=self.registry,
        )
        self._steps = Histogram(
            "dapple_sampling_step_duration_seconds",
            "Duration of a step with all images of a sample task. The first step is left out: it may wait for real images.",
            buckets=STEP_SECONDS,
            registry=self.registry,
        )
        self._samples = Counter("dapple_samples", "Images sampled, of all arms.", registry=self.registry)
        self._lost = Counter("dapple_lease_losses", "Attempts that lost their lease.", registry=self.registry)

    def ended(self, kind: TaskKind, outcome: str, seconds: float) -> None:
        """Count an attempt. `outcome` is one of Outcome, or `lost`."""
        self._tasks.labels(kind.value, outcome).observe(seconds)
        if outcome == "lost":
            self._lost.inc()

    def sampled(self, images: int) -> None:
        """Count the images of a task that succeeded."""
        self._samples.inc(images)

    def timing_steps(self, report: ReportProgress) -> ReportProgress:
        """A callback that calls `report` and also measures the time between two steps.

        The time that `report` itself takes is left out.
        """
        last_done, since = 0, 0.0

        def timed(done: int, total: int) -> None:
            nonlocal last_done, since
            if 0 < last_done == done - 1:
                self._steps.observe(time.perf_counter() - since)
            report(done, total)
            last_done, since = done, time.perf_counter()

        return timed


class Kept(Collector):
    """Counters that the caches keep themselves. They are read at each scrape."""

    def __init__(self, backbones: BackboneRegistry, cache: DiskCache) -> None:
        self._backbones = backbones
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily("dapple_reference_cache_hits", "Entries of the disk cache found.", self._cache.hits)
        yield CounterMetricFamily("dapple_reference_cache_misses", "Entries of the disk cache made.", self._cache.misses)
        yield CounterMetricFamily("dapple_backbone_loads", "Backbones loaded into memory.", self._backbones.loads)
        yield GaugeMetricFamily(
            "dapple_backbone_resident_bytes", "Memory of the backbones that are kept.", self._backbones.resident_bytes
        )
