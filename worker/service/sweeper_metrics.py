"""The Prometheus metrics of a sweeper. Imports no torch, because a sweeper runs without it."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class SweeperMetrics:
    """The metrics of one sweeper."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._rounds = Counter("dapple_sweeps", "Rounds of the sweeper.", ("outcome",), registry=self.registry)
        self._ended = Counter(
            "dapple_sweep_ended", "Expired leases and overdue jobs that the sweeper ended.", registry=self.registry
        )
        self._last = Gauge(
            "dapple_sweep_last_timestamp_seconds",
            "When the last round ended, in seconds since the epoch; before the first round, when the sweeper started.",
            registry=self.registry,
        )
        for outcome in ("done", "postponed"):
            self._rounds.labels(outcome)
        self._last.set_to_current_time()

    def done(self, ended: int) -> None:
        """Count a round that ended `ended` leases and jobs."""
        self._rounds.labels("done").inc()
        self._ended.inc(ended)
        self._last.set_to_current_time()

    def postponed(self) -> None:
        """Count a round for which the database was unavailable."""
        self._rounds.labels("postponed").inc()
