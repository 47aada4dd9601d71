"""What routes ask for in their signatures."""

from threading import Event
from typing import Annotated

from fastapi import Depends, Path, Request

from app.services.resources import Resources


def _resources(request: Request) -> Resources:
    return request.app.state.resources


def _closing(request: Request) -> Event:
    return request.app.state.closing


def _traceparent(request: Request) -> str | None:
    return request.state.traceparent


Res = Annotated[Resources, Depends(_resources)]
Closing = Annotated[Event, Depends(_closing)]
Traceparent = Annotated[str | None, Depends(_traceparent)]
JobId = Annotated[
    str, Path(description="A job's id, as its submission returned it.", examples=["01JD8W3V7QY1W7T9Z0H4K2M5N6"], max_length=255)
]
