"""Traces as a collector receives them: one over a real socket, which decodes what OTLP/HTTP brings."""

import builtins
import json
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import structlog
import torch
from fastapi.testclient import TestClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from app.domain.errors import StorageUnavailable
from app.domain.job import TaskKind
from app.main import create_app
from app.services.resources import Resources
from app.settings import Settings
from app.tracing import Tracing, tracing_of
from app.wakeup.polling import PollingQueue
from tests.integration.test_api_jobs import BODY
from tests.unit.worker.service.test_task_runner import Stages
from worker.backbones.registry import BackboneRegistry
from worker.disk_cache import DiskCache
from worker.service.task_runner import TaskRunner
from worker.stages.context import WorkerContext

INCOMING = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector(ThreadingHTTPServer):
    """Keeps the spans that it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receive)
        self.spans: list[Span] = []

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


class _Receive(BaseHTTPRequestHandler):
    server: Collector  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.spans += [span for r in sent.resource_spans for scope in r.scope_spans for span in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Tests print nothing."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Generator[Collector]:
    with Collector() as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_address[1]}")
        yield collector
        collector.shutdown()


def noted(span: Span) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value") or "") for item in span.attributes}


def posted(settings: Settings, headers: dict[str, str] | None = None) -> None:
    """A job accepted by a service, which has ended and sent its spans."""
    with TestClient(create_app(settings)) as client:
        assert client.post("/v1/jobs", json=BODY, headers=headers).status_code == 202


def worked_off(settings: Settings, resources: Resources, stages: Stages) -> None:
    """Every task run by a traced worker, which has ended and sent its spans."""
    device, tracing = torch.device("cpu"), tracing_of("dapple-worker")
    worker = WorkerContext(settings, resources.store, BackboneRegistry((), device), device, DiskCache(settings.cache_dir, 1))
    runner = TaskRunner(
        resources.database,
        worker,
        PollingQueue(),
        name="w",
        stopping=threading.Event(),
        stages=dict.fromkeys(TaskKind, stages.run),
        tracing=tracing,
    )
    while runner.run_one():
        pass
    tracing.close()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"retry_backoff_seconds": 0.0, "outage_backoff_seconds": 0.0})


def test_a_request_and_every_attempt_at_its_tasks_are_one_trace(
    collector: Collector, settings: Settings, resources: Resources
) -> None:
    posted(settings)
    stages = Stages()
    stages.twists[TaskKind.SAMPLE] = [_failing]
    worked_off(settings, resources, stages)
    (post,) = collector.named("POST")
    attempts = [span for span in collector.spans if span.name.startswith("task ")]
    assert noted(post) == {"http.request.method": "POST", "http.route": "/v1/jobs", "http.response.status_code": 202}
    assert {span.trace_id for span in collector.spans} == {post.trace_id}
    assert {span.parent_span_id for span in attempts} == {post.span_id}
    told = [(noted(span)["dapple.task.kind"], noted(span)["dapple.task.outcome"]) for span in attempts]
    assert sorted(told) == [
        ("evaluate", "succeeded"),
        ("package", "succeeded"),
        ("prepare", "succeeded"),
        ("sample", "failed"),
        ("sample", "succeeded"),
        ("sample", "succeeded"),
    ]
    again = next(noted(span) for span in attempts if noted(span)["dapple.task.attempt"] == 2)
    assert (again["dapple.task.kind"], again["dapple.task.ordinal"], again["dapple.worker"]) == ("sample", 0, "w")


def _failing(_work: object) -> None:
    raise StorageUnavailable("once")


def test_the_callers_trace_is_continued(collector: Collector, settings: Settings) -> None:
    posted(settings, {"traceparent": INCOMING})
    (post,) = collector.named("POST")
    assert (post.trace_id.hex(), post.parent_span_id.hex()) == tuple(INCOMING.split("-")[1:3])


@pytest.mark.parametrize(
    "malformed", ["", "00-0-0-01", INCOMING + "-x", INCOMING.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32)]
)
def test_a_malformed_trace_of_the_caller_begins_a_new_one(collector: Collector, settings: Settings, malformed: str) -> None:
    posted(settings, {"traceparent": malformed})
    assert collector.named("POST")[0].parent_span_id == b""


def test_untraced_the_callers_trace_is_handed_to_the_worker(settings: Settings, resources: Resources) -> None:
    posted(settings, {"traceparent": INCOMING})
    stages = Stages()
    worked_off(settings, resources, stages)
    assert {work.lease.traceparent for work in stages.seen} == {INCOMING}


def test_a_malformed_trace_is_not_handed_on() -> None:
    with Tracing().span("a", "server", "nonsense") as span:
        assert span.traceparent is None


def test_log_lines_within_a_span_have_its_ids(collector: Collector) -> None:
    tracing = tracing_of("x")
    with tracing.span("a", "server", INCOMING) as span:
        bound = structlog.contextvars.get_contextvars()
        assert span.traceparent == f"00-{bound['trace_id']}-{bound['span_id']}-01"
    assert "trace_id" not in structlog.contextvars.get_contextvars()
    tracing.close()


def test_an_endpoint_for_traces_alone_is_enough(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"http://127.0.0.1:{collector.server_address[1]}/v1/traces")
    tracing = tracing_of("x")
    with tracing.span("a", "server", None):
        pass
    tracing.close()
    assert collector.named("a")


def test_a_collector_that_is_down_costs_seconds_at_the_end_and_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    tracing = tracing_of("x")
    with tracing.span("a", "server", None):
        pass
    tracing.close()


def test_an_endpoint_without_the_packages_is_warned_about_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("opentelemetry.exporter"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with structlog.testing.capture_logs() as logs:
        tracing = tracing_of("x")
    with tracing.span("a", "server", INCOMING) as span:
        assert span.traceparent == INCOMING
        assert "trace_id" not in structlog.contextvars.get_contextvars()
    assert "install the extra `otel`" in json.dumps(logs)
    assert capsys.readouterr().out == ""
