"""Serves Prometheus metrics from a process that has no HTTP server of its own."""

import structlog
from prometheus_client import CollectorRegistry, start_http_server

from app.settings import Settings

log = structlog.get_logger()


def serve(registry: CollectorRegistry, settings: Settings) -> None:
    """Serve the metrics on `metrics_port` from a thread, if a port is set.

    If the port is taken, only the metrics are lost.
    """
    if settings.metrics_port is None:
        return
    try:
        start_http_server(settings.metrics_port, settings.metrics_host, registry)
    except OSError as error:
        log.warning("metrics.off", port=settings.metrics_port, reason=error.strerror)
    else:
        log.info("metrics.served", host=settings.metrics_host, port=settings.metrics_port)
