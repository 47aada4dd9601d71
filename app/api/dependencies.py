"""Dependencies of the routes. All are `async`: FastAPI would run a plain function in a thread."""

from typing import Annotated

from fastapi import Depends, Path, Request
from pydantic import AfterValidator

from app.api.event_broadcaster import EventBroadcaster
from app.domain.text import refuse_unstorable
from app.services.resources import Resources


async def _resources(request: Request) -> Resources:
    return request.app.state.resources


async def _hub(request: Request) -> EventBroadcaster:
    return request.app.state.hub


async def _traceparent(request: Request) -> str | None:
    return request.state.traceparent


Res = Annotated[Resources, Depends(_resources)]
Watching = Annotated[EventBroadcaster, Depends(_hub)]
Traceparent = Annotated[str | None, Depends(_traceparent)]
Text = Annotated[str, AfterValidator(refuse_unstorable)]  # safe as a parameter of a database query
JobId = Annotated[
    Text,
    Path(description="A job's id, as its submission returned it.", examples=["01JD8W3V7QY1W7T9Z0H4K2M5N6"], max_length=255),
]
