"""Connections over real sockets: what a slow or greedy client can take, and what is left for the others."""

import asyncio
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from app.server.connections import Connections, protocol_class
from tests.waiting import wait_until

PATIENCE_SECONDS = 30.0
BIG = 64 << 20
HASTY = Connections(100, head_seconds=0.3, body_seconds=0.3, fetch_seconds=0.3)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """`/stream` answers for ever, `/big` with many bytes, and all else with what it was sent."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"tick\n"
            await asyncio.sleep(0.05)

    if scope["path"] == "/stream":
        await StreamingResponse(endless())(scope, receive, send)
    elif scope["path"] == "/big":
        await PlainTextResponse(b"x" * BIG)(scope, receive, send)
    else:
        await PlainTextResponse(await Request(scope, receive).body())(scope, receive, send)


Address = tuple[str, int]


@contextmanager
def serving(limits: Connections) -> Iterator[Address]:
    with running(limits) as (address, _):
        yield address


@contextmanager
def running(limits: Connections) -> Iterator[tuple[Address, uvicorn.Server]]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        http: Any = protocol_class(limits)
        server = uvicorn.Server(
            uvicorn.Config(application, lifespan="off", http=http, ws="none", log_config=None, timeout_graceful_shutdown=0)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        wait_until(lambda: server.started)
        yield listener.getsockname(), server
        server.should_exit = True
        thread.join()


@pytest.fixture
def hasty() -> Generator[Address]:
    """A server that waits for nobody for long."""
    with serving(HASTY) as address:
        yield address


def connected(address: Address, sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(address, timeout=PATIENCE_SECONDS)
    connection.sendall(sent)
    return connection


def rest(connection: socket.socket) -> bytes:
    """Everything until the server closes the connection."""
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


def request(path: str = "/", body: bytes = b"", *lines: str) -> bytes:
    method = "POST" if body else "GET"
    head = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *lines]
    return "\r\n".join([*head, "", ""]).encode() + body


@pytest.mark.parametrize("sent", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n"])
def test_half_a_head_is_answered_408(hasty: Address, sent: bytes) -> None:
    head, _, body = rest(connected(hasty, sent)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in head.lower()
    assert json.loads(body)["type"] == "urn:dapple:problem:request-too-slow"


def test_a_head_that_trickles_in_is_answered_408_all_the_same(hasty: Address) -> None:
    connection = connected(hasty, b"GET / HTTP/1.1\r\n")
    stopped = threading.Event()

    def trickle() -> None:
        while not stopped.wait(0.05):
            try:
                connection.sendall(b"X-A: b\r\n")
            except OSError:
                return

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        assert connection.recv(12) == b"HTTP/1.1 408"
    finally:
        stopped.set()
        thread.join()
        connection.close()


def test_half_a_body_is_answered_408(hasty: Address) -> None:
    assert rest(connected(hasty, request(body=b"x" * 100)[:-1])).startswith(b"HTTP/1.1 408 ")


def test_a_connection_that_says_nothing_is_closed_without_an_answer(hasty: Address) -> None:
    with connected(hasty) as connection:
        assert _what_arrived(connection) == b""


def test_half_of_a_second_request_is_closed_too(hasty: Address) -> None:
    answers = rest(connected(hasty, request(body=b"first") + b"GET / HTTP/1.1\r\n"))
    assert answers.startswith(b"HTTP/1.1 200 ")
    assert b"first" in answers
    assert b"HTTP/1.1 408 " in answers


def test_an_answer_that_nobody_fetches_is_given_up() -> None:
    with running(HASTY) as (address, server), connected(address, request("/big")) as connection:
        wait_until(lambda: len(server.server_state.connections) == 1)
        wait_until(lambda: not server.server_state.connections)
        assert 0 < len(_what_arrived(connection)) < BIG


def _what_arrived(connection: socket.socket) -> bytes:
    received = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(1 << 20):
            received += part
    return received


def test_what_is_no_http_is_answered_400(hasty: Address) -> None:
    head, _, body = rest(connected(hasty, b"\x16\x03\x01\x02\x00\r\n\r\n")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == 400


def test_a_stream_outlives_every_limit(hasty: Address) -> None:
    with connected(hasty, request("/stream")) as stream:
        received = b""
        while received.count(b"tick") < 30:  # 1.5 seconds, five times any of the limits
            part = stream.recv(65536)
            assert part
            received += part


def test_where_there_is_no_room_the_longest_waiting_connection_gives_way() -> None:
    with serving(Connections(10)) as address, ExitStack() as stack:
        silent = [stack.enter_context(connected(address)) for _ in range(30)]
        for number in range(20):
            assert rest(connected(address, request(f"/{number}", b"x", "Connection: close"))).startswith(b"HTTP/1.1 200 ")
        assert _what_arrived(silent[0]) == b""


def test_where_every_connection_is_used_another_is_answered_503(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    with serving(Connections(5)) as address, ExitStack() as stack:
        streams = [stack.enter_context(connected(address, request("/stream"))) for _ in range(5)]
        assert all(stream.recv(12) == b"HTTP/1.1 200" for stream in streams)
        for _ in range(3):
            head, _, body = rest(connected(address, request())).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after" in head.lower()
            assert json.loads(body)["type"] == "urn:dapple:problem:overloaded"
        assert all(stream.recv(1) for stream in streams)
        streams[0].close()
        wait_until(lambda: rest(connected(address, request("/", b"x", "Connection: close"))).startswith(b"HTTP/1.1 200 "))


def test_hundreds_of_streams_at_once_leave_room_for_requests() -> None:
    with serving(Connections(2000)) as address, ExitStack() as stack:
        streams = [stack.enter_context(connected(address, request("/stream"))) for _ in range(200)]
        assert all(stream.recv(12) == b"HTTP/1.1 200" for stream in streams)
        assert rest(connected(address, request("/", b"x", "Connection: close"))).startswith(b"HTTP/1.1 200 ")
