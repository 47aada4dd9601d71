"""Where a process without HTTP of its own answers Prometheus."""

import structlog
from prometheus_client import CollectorRegistry, start_http_server

from app.settings import Settings

log = structlog.get_logger()


def serve(registry: CollectorRegistry, settings: Settings) -> None:
    """Answer Prometheus on `metrics_port` from a thread, if there is one.

    A port that is taken costs the numbers only.
    """
    if settings.metrics_port is None:
        return
    try:
        start_http_server(settings.metrics_port, settings.metrics_host, registry)
    except OSError as error:
        log.warning("metrics.off", port=settings.metrics_port, reason=error.strerror)
    else:
        log.info("metrics.served", host=settings.metrics_host, port=settings.metrics_port)
