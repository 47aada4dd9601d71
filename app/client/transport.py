"""HTTP requests that carry the access token and are tried again while the service is away."""

import time
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from app.access_token import address_for, is_loopback
from app.client.errors import ApiError, OtherVersion, ServiceUnreachable, checked

Answer = TypeVar("Answer")
Read = TypeVar("Read", bound=BaseModel)


class Transport:
    """One service, and the connections to it.

    Connection errors and 503 are tried again after each of `retry_delays`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_seconds: float,
        retry_delays: Sequence[float],
        transport: httpx.BaseTransport | None,
        access_token: Callable[[str], str | None],
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.retry_delays = tuple(retry_delays)
        self._transport = transport
        try:
            self.http = httpx.Client(
                base_url=self.base_url,
                timeout=timeout_seconds,
                # A proxy would look for the service on its own loopback address.
                trust_env=not is_loopback(httpx.URL(self.base_url).host),
                transport=transport,
                auth=_Bearer(self.base_url, access_token),
            )
        except httpx.InvalidURL as error:
            raise ServiceUnreachable(self.base_url, error) from error

    def send(self, method: str, path: str, *, delays: Sequence[float] | None = None, **options: Any) -> httpx.Response:
        """The response to a request. Raises ApiError, ServiceUnreachable."""
        return self.retrying(lambda: checked(self.http.request(method, path, **options)), delays)

    def read_as(self, view: type[Read], response: httpx.Response) -> Read:
        """The body of a response. Raises OtherVersion naming the first fault."""
        try:
            return view.model_validate_json(response.content)
        except ValidationError as error:
            fault = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(map(str, fault["loc"]))
            raise OtherVersion(self.base_url, f"{place}: {fault['msg']}" if place else fault["msg"]) from error

    def retrying(self, attempt: Callable[[], Answer], delays: Sequence[float] | None = None) -> Answer:
        """The result of `attempt`, retried after each of `delays` (by default `retry_delays`)."""
        for delay in self.retry_delays if delays is None else delays:
            try:
                return attempt()
            except (httpx.TransportError, ApiError) as error:
                if isinstance(error, ApiError) and error.problem.status != httpx.codes.SERVICE_UNAVAILABLE.value:
                    raise
                time.sleep(delay)
        try:
            return attempt()
        except httpx.TransportError as error:
            raise ServiceUnreachable(self.base_url, error) from error

    def elsewhere(self, url: httpx.URL) -> httpx.Client:
        """A client for another server, such as the object store.

        It sends nothing that is meant for the service.
        """
        trust_env = not is_loopback(url.host)
        return httpx.Client(timeout=self.http.timeout, trust_env=trust_env, transport=self._transport, follow_redirects=True)

    def close(self) -> None:
        self.http.close()


class _Bearer(httpx.Auth):
    """Sends the access token.

    It is looked up for each request, because a restarted service has a new one.
    """

    def __init__(self, url: str, token: Callable[[str], str | None]) -> None:
        self._url = url
        self._token = partial(token, url)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        sent = self._token()
        response = yield self._authorized(request, sent)
        if response.status_code == httpx.codes.UNAUTHORIZED.value and (now := self._token()) != sent:
            yield self._authorized(request, now)

    def _authorized(self, request: httpx.Request, token: str | None) -> httpx.Request:
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token}"
            request.url = request.url.copy_with(host=address_for(self._url, token) or request.url.host)
        return request
