"""Telemetry of every request: an id for log lines, count and duration, and a trace of writes."""

import re
import time
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.metrics import Metrics
from app.tracing import Tracing

REQUEST_ID = "X-Request-ID"
TRACED = ("POST", "DELETE")
METHODS = ("GET", "HEAD", *TRACED)
UNMATCHED = "unmatched"
_PLAIN_ID = re.compile(r"[0-9A-Za-z_.-]{1,64}")


class RequestTelemetry:
    """Wraps the whole application.

    Keeps a request's own `X-Request-ID` if it is plain. The answer returns the id.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, tracing: Tracing) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing
        self._passing = Tracing()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        # Do not unbind it: a failed request is logged further out. The server gives each request
        # its own context.
        structlog.contextvars.bind_contextvars(request_id=request_id)
        method = scope["method"] if scope["method"] in METHODS else "other"
        tracing = self._tracing if method in TRACED else self._passing
        with tracing.span(method, "server", headers.get("traceparent")) as span:
            scope.setdefault("state", {})["traceparent"] = span.traceparent
            answer = _Answer(send, request_id)
            try:
                await self._app(scope, receive, answer.send)
            finally:
                route = getattr(scope.get("route"), "path", UNMATCHED)
                self._metrics.answered(method, route, answer.status, answer.seconds)
                attributes = {"http.request.method": method, "http.route": route, "http.response.status_code": answer.status}
                span.note(failed=answer.status >= 500, **attributes)


class _Answer:
    """Forwards an answer. `status` is 500 until its head is sent; `seconds` end at that moment."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.status = 500
        self._send = send
        self._request_id = request_id
        self._started = time.perf_counter()
        self._ended: float | None = None

    @property
    def seconds(self) -> float:
        return (self._ended or time.perf_counter()) - self._started

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._ended = time.perf_counter()
            self.status = message["status"]
            MutableHeaders(scope=message)[REQUEST_ID] = self._request_id
        await self._send(message)


def _request_id(headers: Headers) -> str:
    given = headers.get(REQUEST_ID, "")
    return given if _PLAIN_ID.fullmatch(given) else uuid4().hex
