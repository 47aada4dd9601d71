"""Connections that are limited in number, and are closed if the client is too slow.

Uvicorn limits neither how long a request may take to arrive nor how long a response may wait to be
fetched.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import h11
import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.api.errors import STATUS_RULES, problem

WARNING_SECONDS = 10.0  # between two log lines about too many connections

log = structlog.get_logger()


@dataclass
class Connections:
    """The shared state of the connections of one server.

    It holds their limits, and the connections that wait for a request, oldest first.
    """

    most: int
    head_seconds: float = 10.0  # for the head of a request to arrive, from the end of the previous request
    body_seconds: float = 30.0  # for the body of a request to arrive
    fetch_seconds: float = 60.0  # for the client to take 64 KB of a response
    waiting: dict["BoundedProtocol", None] = field(default_factory=dict["BoundedProtocol", None])
    warned_at: float | None = None

    def warn(self) -> None:
        """Log that there are too many connections, at most once in WARNING_SECONDS."""
        now = time.monotonic()
        if self.warned_at is None or now - self.warned_at >= WARNING_SECONDS:
            self.warned_at = now
            log.warning("connections.full", most=self.most)


def protocol_class(shared: Connections) -> Callable[..., asyncio.Protocol]:
    """The factory that uvicorn calls for each new connection."""
    return partial(BoundedProtocol, shared=shared)


class BoundedProtocol(H11Protocol):
    """One connection.

    If there are too many connections, the one that has waited longest for its request is closed. If
    none waits, the new connection gets a 503 response. Nothing limits a response that takes long to
    produce, such as an event stream.
    """

    def __init__(self, *arguments: Any, shared: Connections, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._shared = shared
        self._awaited: object = None  # the part of the request that the timer is for
        self._request_timer: asyncio.TimerHandle | None = None
        self._fetch_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        if len(self.connections) > self._shared.most:
            self._shared.warn()
            self._make_room()
        self._time_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._time_request()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._time_request()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._fetch_timer = self.loop.call_later(self._shared.fetch_seconds, self._abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._fetch_timer is not None:
            self._fetch_timer.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_request_timer()
        if self._fetch_timer is not None:
            self._fetch_timer.cancel()

    def send_400_response(self, msg: str) -> None:
        self._answer_and_close(400, msg)

    def _unsupported_upgrade_warning(self) -> None:
        """Do nothing: such a request is answered as if it did not ask for another protocol."""

    def _make_room(self) -> None:
        """Close the connection that has waited longest for its request.

        If none waits, refuse the request of this connection.
        """
        if self._shared.waiting:
            next(iter(self._shared.waiting))._abort()
        else:
            self.app = _overloaded

    def _time_request(self) -> None:
        """Start a timer if a new part of a request is awaited, and none if the request is whole."""
        limits: dict[object, float] = {h11.IDLE: self._shared.head_seconds, h11.SEND_BODY: self._shared.body_seconds}
        seconds = limits.get(self.conn.their_state)
        awaited = (self.conn.their_state, self.cycle)
        if awaited == self._awaited:
            return
        self._stop_request_timer()
        if seconds is not None and not self.transport.is_closing():
            self._awaited = awaited
            self._shared.waiting[self] = None
            self._request_timer = self.loop.call_later(seconds, self._end_slow_request, seconds)

    def _stop_request_timer(self) -> None:
        self._awaited = None
        self._shared.waiting.pop(self, None)
        if self._request_timer is not None:
            self._request_timer.cancel()

    def _end_slow_request(self, seconds: float) -> None:
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self._abort()  # the client sent nothing, so it gets no response
        else:
            self._answer_and_close(408, f"it did not arrive within {seconds:g} seconds")

    def _answer_and_close(self, status: int, detail: str) -> None:
        """Send a problem document unless a response has begun, and close the connection."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(
                self._bytes_of(problem(STATUS_RULES[status], self.scope["path"] if self.scope else "", detail))
            )
        self._stop_request_timer()
        self.transport.close()

    def _bytes_of(self, answer: Response) -> bytes:
        headers = [*self.server_state.default_headers, *answer.raw_headers, (b"connection", b"close")]
        events = (
            h11.Response(status_code=answer.status_code, headers=headers),
            h11.Data(data=bytes(answer.body)),
            h11.EndOfMessage(),
        )
        return b"".join(self.conn.send(event) or b"" for event in events)

    def _abort(self) -> None:
        self._stop_request_timer()
        self.connections.discard(self)
        self.transport.abort()


async def _overloaded(scope: Scope, receive: Receive, send: Send) -> None:
    """The application of a connection for which there is no room."""
    await problem(STATUS_RULES[503], scope["path"], headers={"Connection": "close"})(scope, receive, send)
