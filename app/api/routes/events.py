"""The event stream of a job."""

import json
from collections.abc import AsyncGenerator, Iterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from pydantic import BeforeValidator, Field
from starlette.concurrency import run_in_threadpool

from app.api.dependencies import JobId, Res, Watching
from app.api.errors import documented
from app.api.event_broadcaster import EventBroadcaster, News, look
from app.api.job_views import moment
from app.domain.errors import JobNotFound
from app.domain.job import JobState

KEEP_ALIVE_SECONDS = 15.0
RECONNECT_MILLISECONDS = 1000
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def _none_if_empty(header: str | None) -> str | None:
    """None for an empty id, as in the HTML standard."""
    return header or None


router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"])


@router.get(
    "/events",
    operation_id="stream_job_events",
    response_class=StreamingResponse,
    responses={
        200: {"description": "The stream.", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
        204: {"description": "The job has ended, and you have all its events: do not reconnect."},
    }
    | documented(403, 404, 422, 503),
)
async def stream_job_events(
    job_id: JobId,
    resources: Res,
    hub: Watching,
    last_event_id: Annotated[
        Annotated[int, Field(ge=0, lt=2**63)] | None,
        BeforeValidator(_none_if_empty),
        Header(description="Only events after this one; browsers send it by themselves.", examples=[7]),
    ] = None,
    tasks: Annotated[
        bool, Query(description="Whether to send `task.*` events too; a large job has thousands.", examples=[False])
    ] = True,
) -> Response:
    """Server-sent events: all past events of the job, then new ones until it ends.

    The service keeps numbered events (`job.*`, `task.*`); a client resumes after its
    `Last-Event-ID`. `progress` events have no number; they come at most twice a second, and their
    data is the job's `progress`. `progress` and `job.*` suffice to show the progress of a job
    without other requests.
    """
    seen = last_event_id or 0
    first = (await run_in_threadpool(look, resources.database, {job_id: seen}, JobState)).get(job_id)
    if first is None:
        raise JobNotFound(job_id)
    if last_event_id is not None and first.over and not first.events:
        return Response(status_code=204)
    return StreamingResponse(_stream(hub, job_id, first, seen, tasks=tasks), headers=HEADERS, media_type="text/event-stream")


async def _stream(hub: EventBroadcaster, job_id: str, first: News, seen: int, *, tasks: bool) -> AsyncGenerator[bytes]:
    yield format_sse_event(retry=RECONNECT_MILLISECONDS)
    for part in _messages(first, tasks=tasks):
        yield part
    if first.over:
        return
    watcher = hub.watch(job_id, first.events[-1].id if first.events else seen, first.progress)
    try:
        while True:
            news = await watcher.news(KEEP_ALIVE_SECONDS)
            if news is None:
                yield format_sse_event(comment="keep-alive")
                continue
            for part in _messages(news, tasks=tasks):
                yield part
            if news.over:
                return
    finally:
        hub.leave(watcher)


def _messages(news: News, *, tasks: bool) -> Iterator[bytes]:
    """The news as server-sent events: the progress, then the events."""
    if news.progress is not None:
        yield format_sse_event(event="progress", data_str=news.progress.model_dump_json())
    for event in news.events:
        if tasks or not event.type.startswith("task."):
            body = {"at": moment(event.at).isoformat(), **event.body}
            yield format_sse_event(id=str(event.id), event=event.type, data_str=json.dumps(body))
