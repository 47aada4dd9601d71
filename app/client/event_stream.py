"""The events of a job, as the service streams them."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
from httpx_sse import EventSource, SSEError

from app.client.errors import OtherVersion, checked
from app.client.transport import Transport

RECONNECT_SECONDS = 0.2


@dataclass(frozen=True)
class JobEvent:
    """Something that happened to a job.

    `id` is the last numbered event of this connection, if any; it resumes the stream after it.
    """

    id: str | None
    type: str
    body: Mapping[str, Any]


def follow(
    transport: Transport, job_id: str, *, after: str | None, tasks: bool, restart_delays: Sequence[float]
) -> Iterator[JobEvent]:
    """The events of the job after the event `after`, up to its end. A broken stream is resumed
    where it broke.

    Without `tasks` only the events of the job as a whole, and its progress. Once an event has
    arrived, a restart of the service is waited for: `restart_delays` follow the usual ones.
    """
    last = after
    while True:
        delays = None if last is None else (*transport.retry_delays, *restart_delays)
        with closing(transport.retrying(partial(_open, transport, job_id, last, tasks=tasks), delays)) as response:
            if response.status_code == httpx.codes.NO_CONTENT.value:
                return
            for event in _until_broken(transport, response):
                last = event.id or last
                yield event
        time.sleep(RECONNECT_SECONDS)


def _open(transport: Transport, job_id: str, last: str | None, *, tasks: bool) -> httpx.Response:
    headers = {"Accept": "text/event-stream"} | ({} if last is None else {"Last-Event-ID": last})
    query = {} if tasks else {"tasks": "false"}
    request = transport.http.build_request("GET", f"/v1/jobs/{job_id}/events", headers=headers, params=query)
    return checked(transport.http.send(request, stream=True))


def _until_broken(transport: Transport, response: httpx.Response) -> Iterator[JobEvent]:
    """The events that arrive before the stream ends or breaks.

    Raises OtherVersion for another content.
    """
    try:
        for event in EventSource(response).iter_sse():
            if event.data:
                yield JobEvent(event.id or None, event.event, json.loads(event.data))
    except SSEError as error:
        raise OtherVersion(transport.base_url, error) from error
    except httpx.TransportError:
        return
