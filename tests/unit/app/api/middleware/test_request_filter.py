from typing import Any

import anyio
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from app.api.middleware.request_filter import RequestFilter


async def reads_everything(scope: Scope, receive: Receive, send: Send) -> None:
    await Request(scope, receive).body()
    await Response(status_code=204)(scope, receive, send)


def status(method: str = "GET", chunks: tuple[bytes, ...] = (), allowed: tuple[str, ...] = (), **headers: str) -> int:
    """What the guard lets a request for an application on 10.0.0.5 come to."""
    head = {"host": "127.0.0.1:8000"} | {name.replace("_", "-"): value for name, value in headers.items()}
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": "/",
        "headers": [(name.encode(), value.encode()) for name, value in head.items()],
        "server": ("10.0.0.5", 8000),
    }
    waiting = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    waiting.append({"type": "http.request", "body": b"", "more_body": False})
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    try:
        anyio.run(RequestFilter(reads_everything, max_body_bytes=10, allowed_hosts=allowed), scope, receive, send)
    except HTTPException as error:
        return error.status_code
    return sent[0]["status"]


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.8.8.8:1", "[::1]:8000", "a.localhost", "10.0.0.5:8000"]
)
def test_loopback_and_the_address_listened_on_are_answered(host: str) -> None:
    assert status(host=host) == 204


@pytest.mark.parametrize(
    "host", ["", "evil.example", "10.0.0.6", "localhost.evil.example", "127.0.0.1.nip.io", "[::", "evil@localhost.x"]
)
def test_any_other_host_is_refused(host: str) -> None:
    assert status(host=host) == 403


def test_further_hosts_can_be_allowed() -> None:
    assert status(host="api:8000", allowed=("api",)) == 204
    assert status(host="other", allowed=("api",)) == 403
    assert status(host="other", allowed=("*",)) == 204


@pytest.mark.parametrize(("origin", "expected"), [("http://localhost:3000", 204), ("https://evil.example", 403), ("null", 403)])
def test_pages_of_others_may_not_change_anything(origin: str, expected: int) -> None:
    assert status("POST", origin=origin) == expected
    assert status("GET", origin=origin) == 204


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", 204),
        ("application/JSON; charset=utf-8", 204),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("", 415),
    ],
)
def test_a_body_must_be_json(content_type: str, expected: int) -> None:
    assert status("POST", (b"{}",), content_type=content_type, content_length="2") == expected
    assert status("POST", (b"{}",), content_type=content_type, transfer_encoding="chunked") == expected


def test_no_body_needs_no_type() -> None:
    assert status("POST") == status("POST", content_length="0") == status("DELETE") == 204


def test_a_body_too_large_is_refused_before_it_is_read() -> None:
    assert status("POST", content_type="application/json", content_length="11") == 413
    assert status("POST", (b"x" * 10,), content_type="application/json", content_length="10") == 204


def test_a_chunked_body_is_refused_once_it_is_too_large() -> None:
    def chunked(*chunks: bytes) -> int:
        return status("POST", chunks, content_type="application/json", transfer_encoding="chunked")

    assert chunked(b"x" * 6, b"x" * 5) == 413
    assert chunked(b"x" * 5, b"x" * 5) == 204


def test_every_answer_keeps_browsers_from_guessing_and_framing() -> None:
    for method, host in (("GET", b"localhost"), ("GET", b"evil.example")):
        sent: list[Message] = []

        async def send(message: Message, sent: list[Message] = sent) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        scope = {"type": "http", "method": method, "path": "/", "headers": [(b"host", host)], "server": None}
        anyio.run(RequestFilter(reads_everything, max_body_bytes=10, allowed_hosts=()), scope, receive, send)
        headers = dict(sent[0]["headers"])
        assert headers[b"x-content-type-options"] == b"nosniff"
        assert headers[b"x-frame-options"] == b"DENY"
        assert headers[b"content-security-policy"] == b"frame-ancestors 'none'"


def test_bodies_that_are_too_large_together_are_refused_until_one_has_ended() -> None:
    guard = RequestFilter(reads_everything, max_body_bytes=10, allowed_hosts=())
    scope = {"type": "http", "method": "POST", "path": "/", "server": None}
    scope["headers"] = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")]

    async def several() -> tuple[list[int], int]:
        statuses: list[int] = []
        refused: list[int] = []
        last_part = anyio.Event()

        async def one() -> None:
            parts = [b"x" * 10]

            async def receive() -> Message:
                if parts:
                    return {"type": "http.request", "body": parts.pop(), "more_body": True}
                await last_part.wait()
                return {"type": "http.request", "body": b"", "more_body": False}

            async def send(message: Message) -> None:
                statuses.extend([message["status"]] if "status" in message else [])

            try:
                await guard(scope, receive, send)
            except HTTPException as error:
                statuses.append(error.status_code)

        async with anyio.create_task_group() as tasks:
            for _ in range(65):
                tasks.start_soon(one)
            await anyio.wait_all_tasks_blocked()
            refused += statuses
            last_part.set()
        await one()
        return refused, statuses[-1]

    assert anyio.run(several) == ([503], 204)
