"""A typed HTTP client of the service."""

from app.client.client import DEFAULT_URL, Client
from app.client.errors import (
    ApiError,
    DownloadCorrupt,
    OtherVersion,
    ServiceUnreachable,
    TargetUnwritable,
)
from app.client.event_stream import JobEvent
from app.client.job_status import JobStatus

__all__ = [
    "DEFAULT_URL",
    "ApiError",
    "Client",
    "DownloadCorrupt",
    "JobEvent",
    "JobStatus",
    "OtherVersion",
    "ServiceUnreachable",
    "TargetUnwritable",
]
