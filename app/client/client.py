"""A typed client of the service, for the command line and for programs."""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from app.access_token import token_for
from app.client.downloads import Downloads, OnBytes
from app.client.errors import TargetUnwritable
from app.client.event_stream import JobEvent, follow
from app.client.job_status import JobStatus
from app.client.transport import Transport
from app.domain.errors import ArtifactNotReady
from app.domain.job import JobState, Outcome, TaskState
from app.domain.spec.job_spec import DistillationSpec
from app.schemas import (
    ArchiveView,
    AttemptPage,
    AttemptView,
    BackbonePage,
    BackboneView,
    JobDetail,
    JobPage,
    JobSummary,
    JobView,
    TaskPage,
    TaskView,
    ValidationView,
    WorkerPage,
    WorkerView,
)

DEFAULT_URL = "http://127.0.0.1:8000"
RETRY_DELAYS = (0.1, 0.3, 0.8, 1.5)
RESTART_DELAYS = (2.0,) * 30  # while a job is followed, its service has a minute to come back
PAGE_SIZE = 500
JSON = {"Content-Type": "application/json"}

Page = TypeVar("Page", JobPage, TaskPage, AttemptPage)


class Client:
    """Requests to one service.

    Connection errors and 503 are tried again; a submission carries a key, so this is safe.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        timeout_seconds: float = 30.0,
        retry_delays: Sequence[float] = RETRY_DELAYS,
        restart_delays: Sequence[float] = RESTART_DELAYS,
        transport: httpx.BaseTransport | None = None,
        access_token: Callable[[str], str | None] = token_for,
    ) -> None:
        self._restart_delays = tuple(restart_delays)
        self._transport = Transport(
            base_url,
            timeout_seconds=timeout_seconds,
            retry_delays=retry_delays,
            transport=transport,
            access_token=access_token,
        )
        self._downloads = Downloads(self._transport)

    @property
    def base_url(self) -> str:
        return self._transport.base_url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def submit(self, spec: DistillationSpec | Mapping[str, Any], *, idempotency_key: str | None = None) -> JobView:
        """The accepted job, or the job that was accepted under the same key before."""
        headers = JSON | {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        response = self._transport.send("POST", "/v1/jobs", content=_body(spec), headers=headers)
        return self._transport.read_as(JobView, response)

    def validate(self, spec: DistillationSpec | Mapping[str, Any]) -> DistillationSpec:
        """The spec with every default filled in. Nothing is stored."""
        query = {"validate_only": "true"}
        response = self._transport.send("POST", "/v1/jobs", content=_body(spec), headers=JSON, params=query)
        return self._transport.read_as(ValidationView, response).spec

    def get(self, job_id: str) -> JobDetail:
        """The job, with the number of attempts at its tasks."""
        return self._job(job_id)

    def _job(self, job_id: str, delays: Sequence[float] | None = None) -> JobDetail:
        return self._transport.read_as(JobDetail, self._transport.send("GET", f"/v1/jobs/{job_id}", delays=delays))

    def list(self, *, state: JobState | None = None, page_size: int = 50) -> Iterator[JobSummary]:
        """Every job, the newest first. Pages are fetched as they are consumed."""
        query = {"limit": page_size} | ({"state": state.value} if state else {})
        for page in self._pages("/v1/jobs", query, JobPage):
            yield from page.items

    def tasks(self, job_id: str, *, state: TaskState | None = None) -> Iterator[TaskView]:
        """The tasks of the job in the order of the graph.

        Pages are fetched as they are consumed.
        """
        query = {"limit": PAGE_SIZE} | ({"state": state.value} if state else {})
        for page in self._pages(f"/v1/jobs/{job_id}/tasks", query, TaskPage):
            yield from page.items

    def attempts(self, job_id: str, *, outcomes: Sequence[Outcome] = ()) -> Iterator[AttemptView]:
        """The attempts at the tasks of the job, the oldest first.

        Pages are fetched as they are consumed.
        """
        query = {"limit": PAGE_SIZE, "outcome": [outcome.value for outcome in outcomes]}
        for page in self._pages(f"/v1/jobs/{job_id}/attempts", query, AttemptPage):
            yield from page.items

    def _pages(self, path: str, query: Mapping[str, Any], page_type: type[Page]) -> Iterator[Page]:
        cursor: dict[str, str] = {}
        while True:
            page = self._transport.read_as(page_type, self._transport.send("GET", path, params={**query, **cursor}))
            yield page
            if page.next_cursor is None:
                return
            cursor = {"cursor": page.next_cursor}

    def cancel(self, job_id: str) -> JobView:
        """The job, cancelled or about to be."""
        return self._transport.read_as(JobView, self._transport.send("POST", f"/v1/jobs/{job_id}/cancel"))

    def delete(self, job_id: str) -> None:
        """Remove a job that has ended, with everything it produced."""
        self._transport.send("DELETE", f"/v1/jobs/{job_id}")

    def metrics(self, job_id: str) -> Mapping[str, Any]:
        """The numbers of a finished job: its evaluation and timings."""
        return self._transport.send("GET", f"/v1/jobs/{job_id}/metrics").json()

    def preview(self, job_id: str) -> bytes:
        """A PNG that shows some images of the job."""
        return self._downloads.read(f"/v1/jobs/{job_id}/preview.png")

    def backbones(self) -> tuple[BackboneView, ...]:
        """The diffusion models that this service can use."""
        return self._transport.read_as(BackbonePage, self._transport.send("GET", "/v1/backbones")).items

    def workers(self) -> tuple[WorkerView, ...]:
        """The worker processes, and the task that each of them runs."""
        return self._transport.read_as(WorkerPage, self._transport.send("GET", "/v1/workers")).items

    def ready(self) -> bool:
        """Whether the service answers and can take jobs. Asks once."""
        try:
            return self._transport.http.get("/readyz").is_success
        except httpx.TransportError:
            return False

    def events(self, job_id: str, *, after: str | None = None, tasks: bool = True) -> Iterator[JobEvent]:
        """The events of the job after the event `after`, up to its end. A broken stream is resumed
        where it broke.

        Without `tasks` only the events of the job as a whole, and its progress.
        """
        return follow(self._transport, job_id, after=after, tasks=tasks, restart_delays=self._restart_delays)

    def wait(self, job_id: str, on_progress: Callable[[JobStatus], None] | None = None) -> JobDetail:
        """The job once it has ended. `on_progress` is called with its status after each change.

        Follows the event stream, and asks for the job itself once, at the end. A restart of the
        service is waited for.
        """
        status = JobStatus()
        for event in self.events(job_id, tasks=False):
            before, status = status, status.after(event.type, event.body)
            if on_progress and status != before:
                on_progress(status)
            if status.state.terminal:
                break
        return self._job(job_id, (*self._transport.retry_delays, *self._restart_delays))

    def download(self, job_id: str, path: Path, on_bytes: OnBytes | None = None) -> ArchiveView:
        """The archive that was downloaded to `path`. `on_bytes` is called with the bytes so far and
        in all.

        An interrupted download is resumed. The bytes are verified before `path` appears or changes.
        Raises ArtifactNotReady if the job has no archive, DownloadCorrupt if the digest differs,
        TargetUnwritable if `path` cannot be written.
        """
        job = self.get(job_id)
        if job.archive is None:
            raise ArtifactNotReady(f"job {job_id} is {job.state} and has no archive")
        try:
            self._downloads.save(f"/v1/jobs/{job_id}/archive", path, job.archive, on_bytes)
        except OSError as error:
            raise TargetUnwritable(f"{path} cannot be written: {error.strerror or error}") from error
        return job.archive


def _body(spec: DistillationSpec | Mapping[str, Any]) -> str:
    """The JSON of the spec. NaN is sent for the service to refuse: the encoder of httpx would raise
    ValueError.
    """
    return json.dumps(spec.model_dump(mode="json") if isinstance(spec, DistillationSpec) else dict(spec))
