"""Traces of requests and tasks, sent to the endpoint that the environment names, if any.

The variable is OTEL_EXPORTER_OTLP_ENDPOINT (or ..._TRACES_ENDPOINT); without it, nothing is sent.

The W3C `traceparent`, a short text, ties the parts of a trace together. A request brings one or
gets one, the job keeps it, and every attempt at a task continues it.
https://www.w3.org/TR/trace-context/#traceparent-header
"""

import os
import re
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from threading import Thread
from typing import TYPE_CHECKING, Literal, Protocol

import structlog

from app.distribution import DISTRIBUTION, install_extra

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span as RecordedSpan

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
FLUSH_SECONDS = 3.0  # at the end, for unsent spans; a collector that is down must not delay a shutdown
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

Attribute = str | int | float | bool
Kind = Literal["server", "consumer"]

log = structlog.get_logger()


class Span(Protocol):
    """The span of one request or attempt while it runs."""

    @property
    def traceparent(self) -> str | None:
        """The trace context that continues this span elsewhere; None if there is no trace."""
        ...

    def note(self, *, failed: bool = False, **attributes: Attribute) -> None:
        """Add attributes, and a failure, that became known while the span runs."""
        ...


class Tracing(Protocol):
    """Makes spans. Safe to share between threads. No error of tracing can fail the traced code."""

    def span(self, name: str, kind: Kind, parent: str | None, /, **attributes: Attribute) -> AbstractContextManager[Span]:
        """A span around the block, whose log lines carry `trace_id` and `span_id`.

        `parent` is a traceparent, which is checked here.
        """
        ...

    def close(self) -> None:
        """Send what was not yet sent, waiting for a few seconds at most."""
        ...


class Untraced:
    """Passes on the caller's trace, and adds nothing to it."""

    @contextmanager
    def span(self, _name: str, _kind: Kind, parent: str | None, /, **_attributes: Attribute) -> Generator[Span]:
        yield _Passing(checked(parent))

    def close(self) -> None:
        """Do nothing, because there is nothing to send."""


class _Passing:
    def __init__(self, traceparent: str | None) -> None:
        self.traceparent = traceparent

    def note(self, *, failed: bool = False, **attributes: Attribute) -> None:
        """Do nothing, because nobody reads it."""


def checked(traceparent: str | None) -> str | None:
    """The traceparent if valid, else None. A malformed one begins no trace and breaks none."""
    return traceparent if traceparent is not None and _TRACEPARENT.fullmatch(traceparent) else None


def tracing_of(service: str) -> Tracing:
    """The tracing that the environment variables of OpenTelemetry ask for.

    `service` is the default of OTEL_SERVICE_NAME.
    """
    endpoint = asked_for(os.environ)
    if endpoint is None:
        return Untraced()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ModuleNotFoundError as error:
        reason = f"{endpoint} is set, but {error.name} is not installed; {install_extra('otel')}"
        log.warning("tracing.off", reason=reason)
        return Untraced()
    return OpenTelemetry(os.environ.get("OTEL_SERVICE_NAME", service), OTLPSpanExporter(timeout=FLUSH_SECONDS))


def asked_for(environ: Mapping[str, str]) -> str | None:
    """The name of the variable that sets the endpoint of traces; None if none is set."""
    return next((name for name in ENDPOINTS if environ.get(name)), None)


class OpenTelemetry:
    """Spans of OpenTelemetry, sent in batches from a thread by `exporter`. Sets nothing global."""

    def __init__(self, service: str, exporter: "SpanExporter") -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource.create({"service.name": service, "service.version": version(DISTRIBUTION)})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("dapple")

    @contextmanager
    def span(self, name: str, kind: Kind, parent: str | None, /, **attributes: Attribute) -> Generator[Span]:
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {"traceparent": parent} if parent is not None and checked(parent) else {}
        before = TraceContextTextMapPropagator().extract(carrier, context=Context())
        kinds = {"server": SpanKind.SERVER, "consumer": SpanKind.CONSUMER}
        with self._tracer.start_as_current_span(name, before, kinds[kind], attributes, record_exception=False) as current:
            recorded = _Recorded(current)
            with structlog.contextvars.bound_contextvars(**recorded.ids):
                yield recorded

    def close(self) -> None:
        """Send what was not yet sent, waiting for a few seconds at most."""
        closing = Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(FLUSH_SECONDS)


class _Recorded:
    def __init__(self, span: "RecordedSpan") -> None:
        self._span = span

    @property
    def ids(self) -> dict[str, str]:
        context = self._span.get_span_context()
        return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}

    @property
    def traceparent(self) -> str:
        return "00-{trace_id}-{span_id}-".format_map(self.ids) + f"{self._span.get_span_context().trace_flags:02x}"

    def note(self, *, failed: bool = False, **attributes: Attribute) -> None:
        from opentelemetry.trace import StatusCode

        self._span.set_attributes(attributes)
        if failed:
            self._span.set_status(StatusCode.ERROR)
