"""Prometheus metrics of this process's requests, and of jobs, tasks and workers in the database."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.db import counts, totals
from app.db.counts import Counts
from app.db.session import Database
from app.db.totals import Totals
from app.domain.errors import DatabaseUnavailable

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """The metrics of one application. None is global: two applications in a process do not mix."""

    def __init__(self, database: Database, heartbeat_seconds: float) -> None:
        """`heartbeat_seconds`: the period of the workers' presence heartbeat."""
        self._registry = CollectorRegistry()
        self._registry.register(Counted(database, heartbeat_seconds))
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "dapple_http_requests", "Requests answered.", ("method", "route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "dapple_http_request_duration_seconds",
            "Time until the head of the answer was sent.",
            ("method", "route"),
            buckets=SECONDS,
            registry=self._registry,
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request. `route` is its template, not its URL: clients must not add labels."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def exposed(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self._registry)


class Counted(Collector):
    """Reads the database at each scrape, so that every replica of the API reports the same."""

    def __init__(self, database: Database, heartbeat_seconds: float) -> None:
        self._database = database
        self._heartbeat_seconds = heartbeat_seconds

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """One name, without a query: the registry asks when there may be no database yet."""
        return iter((GaugeMetricFamily("dapple_database_up", ""),))

    def collect(self) -> Iterator[Metric]:
        """Without a database only `dapple_database_up 0`."""
        try:
            with self._database.reading() as session:
                taken = counts.take(session, self._heartbeat_seconds)
                ended = totals.read(session)
        except DatabaseUnavailable:
            yield GaugeMetricFamily("dapple_database_up", "Whether the database answers.", 0)
        else:
            yield GaugeMetricFamily("dapple_database_up", "Whether the database answers.", 1)
            yield from _gauges(taken)
            yield from _counters(ended)


def _gauges(taken: Counts) -> Iterator[GaugeMetricFamily]:
    jobs = GaugeMetricFamily("dapple_jobs", "Jobs by state.", labels=("state",))
    for state, count in taken.jobs.items():
        jobs.add_metric((state,), count)
    ready = GaugeMetricFamily("dapple_queue_ready_tasks", "Tasks that wait for a worker.", labels=("queue",))
    running = GaugeMetricFamily("dapple_queue_running_tasks", "Tasks that a worker holds.", labels=("queue",))
    oldest = GaugeMetricFamily(
        "dapple_queue_oldest_ready_seconds",
        "Time that the longest waiting ready task has been unfinished since it first became ready; 0 without ready tasks.",
        labels=("queue",),
    )
    workers = GaugeMetricFamily("dapple_queue_workers", "Live workers that consume the queue.", labels=("queue",))
    for queue, found in taken.queues.items():
        ready.add_metric((queue,), found.ready)
        running.add_metric((queue,), found.running)
        oldest.add_metric((queue,), found.oldest_ready_seconds)
        workers.add_metric((queue,), found.workers)
    yield from (jobs, ready, running, oldest, workers)
    yield GaugeMetricFamily("dapple_workers", "Live workers, each once.", taken.workers)


def _counters(ended: Totals) -> Iterator[CounterMetricFamily]:
    attempts = CounterMetricFamily(
        "dapple_attempts",
        "Ended attempts at tasks, including those of workers that died; `failure` is empty for one that did not fail.",
        labels=("kind", "outcome", "failure"),
    )
    for labels, count in ended.attempts.items():
        attempts.add_metric(labels, count)
    jobs = CounterMetricFamily("dapple_jobs_ended", "Jobs that have ended.", labels=("state", "failure"))
    for labels, count in ended.jobs.items():
        jobs.add_metric(labels, count)
    yield from (attempts, jobs)
