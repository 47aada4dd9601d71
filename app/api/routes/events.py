"""The event stream of a job."""

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from threading import Event as Flag
from typing import Annotated

import anyio
from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from app.api.dependencies import Closing, JobId, Res
from app.api.errors import documented
from app.api.rendering import moment, progress_view
from app.db import events, jobs
from app.db.session import Database
from app.domain.errors import DatabaseUnavailable, JobNotFound
from app.domain.job import Event
from app.domain.views import ProgressView

POLL_SECONDS = 0.5
KEEP_ALIVE_SECONDS = 15.0
RECONNECT_MILLISECONDS = 1000
MOST_AT_ONCE = 500
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"])


@dataclass(frozen=True)
class Look:
    """What one look at the database showed."""

    news: list[Event]
    progress: ProgressView
    over: bool


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
    closing: Closing,
    last_event_id: Annotated[
        int | None,
        Header(ge=0, lt=2**63, description="Only events after this one; browsers send it by themselves.", examples=[7]),
    ] = None,
) -> Response:
    """Server-sent events: all that has happened to the job, then what happens, until it has ended.

    Numbered events (`job.*`, `task.*`) are kept and can be resumed after `Last-Event-ID`. Between them come `progress`
    events without a number, at most two a second, whose data is the job's `progress`.
    """
    first = await run_in_threadpool(_look, resources.database, job_id, last_event_id or 0)
    if last_event_id is not None and first.over and not first.news:
        return Response(status_code=204)
    stream = _stream(resources.database, job_id, first, last_event_id or 0, closing)
    return StreamingResponse(stream, headers=HEADERS, media_type="text/event-stream")


async def _stream(database: Database, job_id: str, look: Look, last_id: int, closing: Flag) -> AsyncGenerator[str]:
    yield f"retry: {RECONNECT_MILLISECONDS}\n\n"
    told: ProgressView | None = None
    silent_seconds = 0.0
    while True:
        if look.progress != told:
            told = look.progress
            yield f"event: progress\ndata: {told.model_dump_json()}\n\n"
            silent_seconds = 0.0
        for event in look.news:
            last_id = event.id
            yield _framed(event)
        if look.over or closing.is_set():
            return
        if silent_seconds >= KEEP_ALIVE_SECONDS:
            yield ": keep-alive\n\n"
            silent_seconds = 0.0
        await anyio.sleep(POLL_SECONDS)
        silent_seconds += POLL_SECONDS
        try:
            look = await run_in_threadpool(_look, database, job_id, last_id)
        except (JobNotFound, DatabaseUnavailable):
            # Deleted, or the client does better to come back: either way the next request says which.
            return


def _look(database: Database, job_id: str, last_id: int) -> Look:
    """Raises JobNotFound."""
    with database.reading() as session:
        job = jobs.get(session, job_id)
        news = events.after(session, job_id, last_id, MOST_AT_ONCE)
        progress = progress_view(jobs.progress(session, [job_id])[job_id])
    return Look(news, progress, over=job.state.terminal and len(news) < MOST_AT_ONCE)


def _framed(event: Event) -> str:
    body = {"at": moment(event.at).isoformat(), **event.body}
    return f"id: {event.id}\nevent: {event.type}\ndata: {json.dumps(body)}\n\n"
