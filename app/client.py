"""A typed HTTP client of the service, for the command line and for programs."""

import base64
import hashlib
import json
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from app.access_token import address_for, is_loopback, token_for
from app.domain.errors import ArtifactNotReady, DappleError
from app.domain.following import JobStatus
from app.domain.job import JobState, Outcome, TaskState
from app.domain.spec.job_spec import DistillationSpec
from app.domain.views import (
    ArchiveView,
    AttemptPage,
    AttemptView,
    BackbonePage,
    BackboneView,
    JobDetail,
    JobPage,
    JobSummary,
    JobView,
    Problem,
    TaskPage,
    TaskView,
    ValidationView,
    WorkerPage,
    WorkerView,
)

DEFAULT_URL = "http://127.0.0.1:8000"
RETRY_DELAYS = (0.1, 0.3, 0.8, 1.5)
RESTART_DELAYS = (2.0,) * 30  # once a job is being followed, its service is given a minute to come back
RECONNECT_SECONDS = 0.2
PAGE_SIZE = 500
JSON = {"Content-Type": "application/json"}
UNPACKED = {"Accept-Encoding": "identity"}

Answer = TypeVar("Answer")
Read = TypeVar("Read", bound=BaseModel)
Page = TypeVar("Page", JobPage, TaskPage, AttemptPage)
OnBytes = Callable[[int, int], None]


class ServiceUnreachable(DappleError):
    """No service answered at the URL."""

    def __init__(self, url: str, reason: object) -> None:
        self.url = url
        super().__init__(f"no service at {url} ({reason}); start one with `dapple up`")


class OtherVersion(DappleError):
    """What the service answered is not what this version of the client reads."""

    def __init__(self, url: str, reason: object) -> None:
        super().__init__(f"the service at {url} speaks another version of this API: {reason}")


class DownloadCorrupt(DappleError):
    """The downloaded bytes are not the job's archive; nothing was left at the target."""


class TargetUnwritable(DappleError):
    """The archive cannot be kept where it was asked for; the text names the place."""


class ApiError(DappleError):
    """The service refused the request; `problem` is its reason, the text names the fields at fault."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        faults = [f"\n  {error.field}: {error.message}" for error in problem.errors]
        reason = "".join(faults) or f" {problem.detail}" if faults or problem.detail else ""
        super().__init__(f"{problem.title}:{reason}" if reason else problem.title)

    @classmethod
    def of(cls, response: httpx.Response) -> Self:
        """The error of a response that was read; a body that is no problem document is quoted."""
        try:
            return cls(Problem.model_validate_json(response.content))
        except ValidationError:
            title = f"{response.status_code} {response.reason_phrase}"
            return cls(Problem(type="about:blank", title=title, status=response.status_code, detail=response.text[:200]))


@dataclass(frozen=True)
class JobEvent:
    """Something that happened to a job; `id` resumes the stream behind it. `progress` has none: it is not kept."""

    id: str | None
    type: str
    body: Mapping[str, Any]


class _Bearer(httpx.Auth):
    """Sends the access token, looked up for each request: a service that was started again has another."""

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


class Client:
    """Requests to one service. Connection errors and 503 are tried again; a submission is safe to repeat, it carries a key."""

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
        self.base_url = base_url.rstrip("/")
        self._retry_delays = tuple(retry_delays)
        self._patience = (*retry_delays, *restart_delays)
        self._transport = transport
        try:
            self._http = httpx.Client(
                base_url=self.base_url,
                timeout=timeout_seconds,
                # A proxy from the environment would be asked for its own loopback address.
                trust_env=not is_loopback(httpx.URL(self.base_url).host),
                transport=transport,
                auth=_Bearer(self.base_url, access_token),
            )
        except httpx.InvalidURL as error:
            raise ServiceUnreachable(self.base_url, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def submit(self, spec: DistillationSpec | Mapping[str, Any], *, idempotency_key: str | None = None) -> JobView:
        """The job as accepted, or the job that was accepted under the same key before."""
        headers = JSON | {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return self._read_as(JobView, self._send("POST", "/v1/jobs", content=_body(spec), headers=headers))

    def validate(self, spec: DistillationSpec | Mapping[str, Any]) -> DistillationSpec:
        """The spec with every default filled in; nothing is stored."""
        answer = self._send("POST", "/v1/jobs", content=_body(spec), headers=JSON, params={"validate_only": "true"})
        return self._read_as(ValidationView, answer).spec

    def get(self, job_id: str) -> JobDetail:
        """The job, with how often its tasks were tried."""
        return self._job(job_id, self._retry_delays)

    def _job(self, job_id: str, delays: Sequence[float]) -> JobDetail:
        response = self._retrying(lambda: _checked(self._http.get(f"/v1/jobs/{job_id}")), delays)
        return self._read_as(JobDetail, response)

    def list(self, *, state: JobState | None = None, page_size: int = 50) -> Iterator[JobSummary]:
        """Every job, the newest first, page by page as they are consumed."""
        query = {"limit": page_size} | ({"state": state.value} if state else {})
        for page in self._pages("/v1/jobs", query, JobPage):
            yield from page.items

    def tasks(self, job_id: str, *, state: TaskState | None = None) -> Iterator[TaskView]:
        """The job's tasks in the order of the graph, page by page as they are consumed."""
        query = {"limit": PAGE_SIZE} | ({"state": state.value} if state else {})
        for page in self._pages(f"/v1/jobs/{job_id}/tasks", query, TaskPage):
            yield from page.items

    def attempts(self, job_id: str, *, outcomes: Sequence[Outcome] = ()) -> Iterator[AttemptView]:
        """Every try at the job's tasks that ended so, the oldest first, page by page as they are consumed."""
        query = {"limit": PAGE_SIZE, "outcome": [outcome.value for outcome in outcomes]}
        for page in self._pages(f"/v1/jobs/{job_id}/attempts", query, AttemptPage):
            yield from page.items

    def _pages(self, path: str, query: Mapping[str, Any], page_type: type[Page]) -> Iterator[Page]:
        cursor: dict[str, str] = {}
        while True:
            page = self._read_as(page_type, self._send("GET", path, params={**query, **cursor}))
            yield page
            if page.next_cursor is None:
                return
            cursor = {"cursor": page.next_cursor}

    def cancel(self, job_id: str) -> JobView:
        """The job, cancelled or about to be."""
        return self._read_as(JobView, self._send("POST", f"/v1/jobs/{job_id}/cancel"))

    def delete(self, job_id: str) -> None:
        """Remove a job that has ended, with everything it produced."""
        self._send("DELETE", f"/v1/jobs/{job_id}")

    def metrics(self, job_id: str) -> Mapping[str, Any]:
        """The numbers of a finished job: its evaluation and timings."""
        return self._send("GET", f"/v1/jobs/{job_id}/metrics").json()

    def preview(self, job_id: str) -> bytes:
        """A PNG with some of the job's images."""
        return self._retrying(partial(self._read, f"/v1/jobs/{job_id}/preview.png"), self._retry_delays)

    def backbones(self) -> tuple[BackboneView, ...]:
        """The diffusion models this service may use."""
        return self._read_as(BackbonePage, self._send("GET", "/v1/backbones")).items

    def workers(self) -> tuple[WorkerView, ...]:
        """The processes that run tasks, and what each of them runs."""
        return self._read_as(WorkerPage, self._send("GET", "/v1/workers")).items

    def ready(self) -> bool:
        """Whether the service answers and can take jobs; asks once."""
        try:
            return self._http.get("/readyz").is_success
        except httpx.TransportError:
            return False

    def events(self, job_id: str, *, after: str | None = None, tasks: bool = True) -> Iterator[JobEvent]:
        """What happened to the job behind the event `after`, up to its end; a broken stream is taken up where it broke.

        Without `tasks` only what happened to the job as a whole, and its progress.
        """
        last = after
        while True:
            delays = self._retry_delays if last is None else self._patience
            with closing(self._retrying(partial(self._open_events, job_id, last, tasks=tasks), delays)) as response:
                if response.status_code == httpx.codes.NO_CONTENT.value:
                    return
                for event in _until_broken(job_events(response.iter_lines())):
                    last = event.id or last
                    yield event
            time.sleep(RECONNECT_SECONDS)

    def wait(self, job_id: str, on_progress: Callable[[JobStatus], None] | None = None) -> JobDetail:
        """The job once it has ended; `on_progress` sees how it stands after each change.

        Follows the event stream, and asks for the job itself once, at the end. A restart of the service is waited for.
        """
        status = JobStatus()
        for event in self.events(job_id, tasks=False):
            before, status = status, status.after(event.type, event.body)
            if on_progress and status != before:
                on_progress(status)
            if status.state.terminal:
                break
        return self._job(job_id, self._patience)

    def download(self, job_id: str, path: Path, on_bytes: OnBytes | None = None) -> ArchiveView:
        """What was downloaded to `path`; `on_bytes` sees the bytes so far and in all.

        An interrupted download is taken up again; the bytes are verified before `path` appears or changes, and fetched once
        more from the beginning if they are not the archive's.
        Raises ArtifactNotReady if the job has no archive, DownloadCorrupt if the digest differs, TargetUnwritable if `path`
        cannot be written.
        """
        job = self.get(job_id)
        if job.archive is None:
            raise ArtifactNotReady(f"job {job_id} is {job.state} and has no archive")
        try:
            self._save(f"/v1/jobs/{job_id}/archive", path, job.archive, on_bytes)
        except OSError as error:
            raise TargetUnwritable(f"{path} cannot be written: {error.strerror or error}") from error
        return job.archive

    def _save(self, url: str, path: Path, archive: ArchiveView, on_bytes: OnBytes | None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{archive.sha256[:12]}.part")
        fetch = partial(self._fetch, url, part, archive, on_bytes)
        self._retrying(fetch, self._retry_delays)
        if _sha256(part) != archive.sha256:  # parts of two contents may have met in the file
            part.unlink()
            self._retrying(fetch, self._retry_delays)
            _check_bytes(part, archive)
        part.replace(path)

    def _fetch(self, url: str, part: Path, archive: ArchiveView, on_bytes: OnBytes | None) -> None:
        """Append to `part` what it lacks; the server sends the whole anew if the archive is no longer the one begun."""
        done = part.stat().st_size if part.exists() else 0
        if done >= archive.size_bytes:
            return
        with self._content(url, done, archive) as response:
            done = done if "Content-Range" in response.headers else 0
            with part.open("ab" if done else "wb") as file:
                for chunk in response.iter_bytes():
                    done += file.write(chunk)
                    if on_bytes:
                        on_bytes(done, archive.size_bytes)

    def _read(self, url: str) -> bytes:
        with self._content(url) as response:
            return response.read()

    @contextmanager
    def _content(self, url: str, start: int = 0, archive: ArchiveView | None = None) -> Generator[httpx.Response]:
        """The answer with the bytes from `start` on, if it can: from the service, or from the object store that it names."""
        part = {"Range": f"bytes={start}-"} if start else {}
        same = {"If-Range": f'"{archive.sha256}"'} if start and archive else {}
        with self._http.stream("GET", url, headers=UNPACKED | part | same) as response:
            _checked(response)
            _check_announced_digest(response, archive)
            if not response.has_redirect_location:
                yield response
                return
            elsewhere = response.url.join(response.headers["Location"])
        with self._stored(elsewhere, UNPACKED | part) as response:
            yield response

    @contextmanager
    def _stored(self, url: httpx.URL, headers: Mapping[str, str]) -> Generator[httpx.Response]:
        """The object store's answer; nothing that is meant for the service is sent there.

        Every fault of the store is a passing one: the service will name another URL where this one has expired.
        """
        http = httpx.Client(
            timeout=self._http.timeout, trust_env=not is_loopback(url.host), transport=self._transport, follow_redirects=True
        )
        try:
            with http, http.stream("GET", url, headers=headers) as response:
                if response.is_error:
                    response.read()
                    raise _store_away(url, f"{response.status_code} {response.reason_phrase} {response.text[:200]}")
                yield response
        except httpx.TransportError as error:
            raise _store_away(url, error) from error

    def _open_events(self, job_id: str, last: str | None, *, tasks: bool) -> httpx.Response:
        headers = {"Accept": "text/event-stream"} | ({} if last is None else {"Last-Event-ID": last})
        query = {} if tasks else {"tasks": "false"}
        request = self._http.build_request("GET", f"/v1/jobs/{job_id}/events", headers=headers, params=query)
        return _checked(self._http.send(request, stream=True))

    def _read_as(self, view: type[Read], response: httpx.Response) -> Read:
        """Raises OtherVersion, naming the first fault."""
        try:
            return view.model_validate_json(response.content)
        except ValidationError as error:
            fault = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(map(str, fault["loc"]))
            raise OtherVersion(self.base_url, f"{place}: {fault['msg']}" if place else fault["msg"]) from error

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self._retrying(lambda: _checked(self._http.request(method, path, **options)), self._retry_delays)

    def _retrying(self, attempt: Callable[[], Answer], delays: Sequence[float]) -> Answer:
        for delay in delays:
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


def job_events(lines: Iterable[str]) -> Iterator[JobEvent]:
    """The events of a server-sent stream; comments and anything without data are skipped."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if name:
            fields[name] = value.removeprefix(" ")
        elif not line:
            if "data" in fields:
                yield JobEvent(fields.get("id"), fields.get("event", "message"), json.loads(fields["data"]))
            fields = {}


def _until_broken(events: Iterator[JobEvent]) -> Iterator[JobEvent]:
    with suppress(httpx.TransportError):
        yield from events


def _body(spec: DistillationSpec | Mapping[str, Any]) -> str:
    """What the service is to judge, NaN included: httpx's own encoder raises for it and names no field."""
    return json.dumps(spec.model_dump(mode="json") if isinstance(spec, DistillationSpec) else dict(spec))


def _checked(response: httpx.Response) -> httpx.Response:
    """Raises ApiError for a refusal."""
    if response.is_error:
        response.read()
        response.close()
        raise ApiError.of(response)
    return response


def _store_away(url: httpx.URL, reason: object) -> ApiError:
    title = f"The object store at {url.host} did not send the content"
    status = httpx.codes.SERVICE_UNAVAILABLE.value
    return ApiError(Problem(type="about:blank", title=title, status=status, detail=str(reason)))


def _check_announced_digest(response: httpx.Response, archive: ArchiveView | None) -> None:
    """RFC 9530: Repr-Digest is of the whole archive even where only a part is sent, or another URL is named."""
    announced = response.headers.get("Repr-Digest")
    if archive is None:
        return
    expected = f"sha-256=:{base64.b64encode(bytes.fromhex(archive.sha256)).decode()}:"
    if announced is not None and announced != expected:
        raise DownloadCorrupt(f"the service announces {announced}, the job's archive is {expected}")


def _check_bytes(part: Path, archive: ArchiveView) -> None:
    digest = _sha256(part)
    if digest != archive.sha256:
        part.unlink()
        raise DownloadCorrupt(f"the bytes hash to {digest}, the archive to {archive.sha256}; download again")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
