"""Refuse requests before routing: foreign hosts and origins, bodies too large or mistyped."""

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access_token import is_loopback
from app.api.errors import STATUS_RULES, problem
from app.api.safe_headers import SAFE_HEADERS

BODIES_AT_ONCE = 64  # of the largest size; tens of thousands of usual size
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class RequestFilter:
    """Protects a service on loopback from foreign web pages, and its memory from large bodies.

    A foreign page can make a browser send requests to loopback. The check of `Host` refuses DNS
    rebinding. The checks of `Origin` and of the content type, which a plain form cannot set, refuse
    direct requests.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, allowed_hosts: Collection[str]) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._most_held_bytes = BODIES_AT_ONCE * max_body_bytes
        self._held_bytes = 0
        self._allowed_hosts = frozenset(allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self._pass_on(scope, receive, send)
        else:
            status, why = refusal
            await problem(STATUS_RULES[status], scope["path"], why)(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason if the head of the request suffices to refuse it, else None."""
        headers, unsafe = Headers(scope=scope), scope["method"] not in SAFE_METHODS
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._allowed(_name(f"//{host}"), scope):
            return 403, f"this service does not answer to the host {host!r}; DAPPLE_ALLOWED_HOSTS names further ones"
        if unsafe and origin is not None and not self._allowed(_name(origin), scope):
            return 403, f"pages of {origin} may not change anything here"
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self._max_body_bytes:
            return 413, self._too_large()
        has_body = length not in ("", "0") or "transfer-encoding" in headers
        if unsafe and has_body and _media_type(headers) != "application/json":
            return 415, "send the body as application/json"
        return None

    def _allowed(self, name: str, scope: Scope) -> bool:
        if is_loopback(name):
            return True
        listening_on = (scope.get("server") or ("",))[0]
        return bool(name) and (name == listening_on or name in self._allowed_hosts or "*" in self._allowed_hosts)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request unless its body, or all present bodies together, exceed their limit.

        Counts the bytes as they arrive, because a chunked body does not state its size.
        """
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            size = len(message.get("body", b""))
            received, self._held_bytes = received + size, self._held_bytes + size
            if received > self._max_body_bytes:
                raise HTTPException(413, self._too_large())
            if self._held_bytes > self._most_held_bytes:
                raise HTTPException(503, "too many bodies arrive at once", {"Connection": "close"})
            return message

        try:
            await self._app(scope, limited, _safely(send))
        finally:
            self._held_bytes -= received

    def _too_large(self) -> str:
        return f"at most {self._max_body_bytes} bytes are accepted"


def _safely(send: Send) -> Send:
    """A `send` that adds the headers of every answer."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SAFE_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers


def _name(url: str) -> str:
    """The host name in a URL, in lower case; empty if it has none."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _media_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()
