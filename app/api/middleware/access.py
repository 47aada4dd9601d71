"""Refuse requests without the access token, if the service has one."""

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.errors import STATUS_RULES, problem

OPEN_PATHS = frozenset({"/", "/livez", "/docs", "/openapi.json"})
OPEN_PREFIXES = ("/static-offline-docs/",)  # what /docs loads


class Access:
    """Accepts only requests with the bearer token, except for the documentation and `/livez`.

    If the service has no token, accepts every request: a proxy in front authenticates clients.
    """

    def __init__(self, app: ASGIApp, *, token: str | None) -> None:
        self._app = app
        self._expected = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._expected is None or is_open(scope["path"]) or self._carried(scope):
            await self._app(scope, receive, send)
            return
        why = "send the token of the service as `Authorization: Bearer TOKEN`; `dapple token` prints it to its own account"
        headers = {"WWW-Authenticate": "Bearer"}
        await problem(STATUS_RULES[401], scope["path"], why, headers=headers)(scope, receive, send)

    def _carried(self, scope: Scope) -> bool:
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self._expected or b"")


def is_open(path: str) -> bool:
    """Whether the path needs no token."""
    return path in OPEN_PATHS or path.startswith(OPEN_PREFIXES)
