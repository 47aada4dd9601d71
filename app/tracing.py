"""Traces of requests and tasks, sent to the endpoint that the environment names, if any.

The variable is OTEL_EXPORTER_OTLP_ENDPOINT (or ..._TRACES_ENDPOINT); without it, nothing is sent.

The W3C `traceparent`, a short text, ties the parts of a trace together. A request brings one or
gets one, the job keeps it, and every attempt at a task continues it.
https://www.w3.org/TR/trace-context/#traceparent-header
"""

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from threading import Thread
from typing import TYPE_CHECKING, Literal

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.distribution import DISTRIBUTION, install_extra

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
FLUSH_SECONDS = 3.0  # at the end, for unsent spans; a collector that is down must not delay a shutdown
KINDS = {"server": trace.SpanKind.SERVER, "consumer": trace.SpanKind.CONSUMER}
PROPAGATOR = TraceContextTextMapPropagator()

Attribute = str | int | float | bool
Kind = Literal["server", "consumer"]

log = structlog.get_logger()


class Span:
    """The span of one request or attempt while it runs."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str | None:
        """The trace context that continues this span elsewhere; None if there is no trace."""
        carrier = dict[str, str]()
        PROPAGATOR.inject(carrier, trace.set_span_in_context(self._span, Context()))
        return carrier.get("traceparent")

    def note(self, *, failed: bool = False, **attributes: Attribute) -> None:
        """Add attributes, and a failure, that became known while the span runs."""
        self._span.set_attributes(attributes)
        if failed:
            self._span.set_status(trace.StatusCode.ERROR)


class Tracing:
    """Makes spans. Safe to share between threads. Sets nothing global.

    Without a provider of the SDK, it passes on the caller's trace and adds nothing to it.
    """

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        self._provider = provider
        self._tracer = (provider or trace.NoOpTracerProvider()).get_tracer("dapple")

    @contextmanager
    def span(self, name: str, kind: Kind, parent: str | None, /, **attributes: Attribute) -> Generator[Span]:
        """A span around the block, whose log lines carry `trace_id` and `span_id`.

        `parent` is a traceparent. A malformed one begins no trace and breaks none.
        """
        before = PROPAGATOR.extract({"traceparent": parent or ""}, Context())
        with (
            self._tracer.start_as_current_span(name, before, KINDS[kind], attributes, record_exception=False) as span,
            structlog.contextvars.bound_contextvars(**_ids(span)),
        ):
            yield Span(span)

    def close(self) -> None:
        """Send what was not yet sent, waiting for a few seconds at most."""
        if self._provider is not None:
            closing = Thread(target=self._provider.shutdown, daemon=True)
            closing.start()
            closing.join(FLUSH_SECONDS)


def tracing_of(service: str) -> Tracing:
    """The tracing that the environment variables of OpenTelemetry ask for.

    `service` is the default of OTEL_SERVICE_NAME.
    """
    endpoint = asked_for(os.environ)
    if endpoint is None:
        return Tracing()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        reason = f"{endpoint} is set, but {error.name} is not installed; {install_extra('otel')}"
        log.warning("tracing.off", reason=reason)
        return Tracing()
    name = os.environ.get("OTEL_SERVICE_NAME", service)
    resource = Resource.create({"service.name": name, "service.version": version(DISTRIBUTION)})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=FLUSH_SECONDS)))
    return Tracing(provider)


def asked_for(environ: Mapping[str, str]) -> str | None:
    """The name of the variable that sets the endpoint of traces; None if none is set."""
    return next((name for name in ENDPOINTS if environ.get(name)), None)


def _ids(span: trace.Span) -> dict[str, str]:
    """The fields of log lines; none for a span that is not recorded."""
    if not span.is_recording():
        return {}
    context = span.get_span_context()
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}
