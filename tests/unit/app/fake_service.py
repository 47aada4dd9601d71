"""A service that answers as told, behind a real client."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx

from app.client import Client
from app.domain.spec.job_spec import DistillationSpec

SPEC = DistillationSpec(dataset_uri="sklearn://digits", ipc=1)
ARCHIVE = bytes(range(256)) * 40
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()

Answer = Callable[[httpx.Request], httpx.Response]


def job(state: str = "running", *, job_id: str = "J1", archive: bool = False) -> dict[str, Any]:
    size = {"sha256": SHA256, "size_bytes": len(ARCHIVE), "media_type": "application/zip"}
    return {
        "id": job_id,
        "state": state,
        "spec": SPEC.model_dump(mode="json"),
        "created_at": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
        "progress": {"fraction": 0.5, "phases": []},
        "archive": size if archive else None,
        "links": {"self": f"/v1/jobs/{job_id}"}
        | {name: f"/v1/jobs/{job_id}/{name}" for name in ("events", "cancel", "tasks", "attempts")},
    }


def listed(job_id: str, state: str = "running") -> dict[str, Any]:
    """A job as lists show it."""
    shown = job(state, job_id=job_id)
    spec = shown.pop("spec")
    return shown | {name: spec[name] for name in ("dataset_uri", "backbone", "ipc", "priority")}


class Service:
    """Answers in turn, the last one for ever, and remembers what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer(request)

    def client(self, retries: int = 2) -> Client:
        return Client("http://service", retry_delays=(0,) * retries, transport=httpx.MockTransport(self))


def says(body: Any, status: int = 200, **headers: str) -> Answer:
    return lambda request: httpx.Response(status, json=body, headers=headers)


def refuses(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)
