import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from app.access_token import RunningService, announce
from app.client import ApiError, Client, DownloadCorrupt, OtherVersion, ServiceUnreachable, TargetUnwritable
from app.client.job_status import JobStatus
from app.domain.errors import ArtifactNotReady
from app.domain.job import JobState, Outcome, Phase
from app.schemas import ProgressView
from tests.unit.app.fake_service import ARCHIVE, SHA256, SPEC, Answer, Service, job, listed, refuses, says

pytestmark = pytest.mark.slow


class Broken(httpx.SyncByteStream):
    """A body that is cut off after its chunks."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self.chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self.chunks
        raise httpx.ReadError("cut off")


def event(number: int, kind: str = "progress") -> bytes:
    return f"id: {number}\nevent: {kind}\ndata: {{}}\n\n".encode()


def streams(*chunks: bytes, broken: bool = False) -> Answer:
    body = Broken(chunks) if broken else httpx.ByteStream(b"".join(chunks))
    return lambda request: httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=body)


def ended(request: httpx.Request) -> httpx.Response:
    return httpx.Response(204)


def serves_archive(data: bytes = ARCHIVE, *, cut_at: int | None = None, ranges: bool = True) -> Answer:
    def answer(request: httpx.Request) -> httpx.Response:
        start = int(request.headers.get("Range", "bytes=0-")[6:-1]) if ranges else 0
        matches = request.headers.get("If-Range") == f'"{SHA256}"'
        partial = ranges and start > 0 and matches
        body = data[start if partial else 0 :]
        digest = base64.b64encode(hashlib.sha256(ARCHIVE).digest()).decode()
        headers = {"ETag": f'"{SHA256}"', "Repr-Digest": f"sha-256=:{digest}:"}
        if partial:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        stream = httpx.ByteStream(body) if cut_at is None else Broken([body[:cut_at]])
        return httpx.Response(206 if partial else 200, headers=headers, stream=stream)

    return answer


def test_a_job_is_submitted_with_a_key_that_survives_the_retries():
    service = Service(refuses, refuses, says(job("queued"), 202))

    submitted = service.client().submit(SPEC)

    assert submitted.state is JobState.QUEUED
    assert len({request.headers["Idempotency-Key"] for request in service.requests}) == 1
    assert len(service.requests) == 3


def test_two_submissions_carry_different_keys():
    service = Service(says(job("queued"), 202))
    client = service.client()

    client.submit(SPEC)
    client.submit({"dataset_uri": "sklearn://digits", "ipc": 1})

    assert len({request.headers["Idempotency-Key"] for request in service.requests}) == 2
    assert json.loads(service.requests[1].content) == {"dataset_uri": "sklearn://digits", "ipc": 1}


def test_a_value_that_is_no_number_is_left_to_the_service_to_refuse():
    service = Service(says(job("queued"), 202))
    service.client().submit({"dataset_uri": "sklearn://digits", "ipc": 1, "kernel_bandwidth": float("nan")})
    assert b'"kernel_bandwidth": NaN' in service.requests[0].content
    assert service.requests[0].headers["Content-Type"] == "application/json"


def test_a_service_that_never_answers_is_unreachable_and_the_text_says_what_to_do():
    service = Service(refuses)

    with pytest.raises(ServiceUnreachable, match=r"no service at http://service .*dapple up"):
        service.client(retries=3).get("J1")

    assert len(service.requests) == 4


def test_a_service_that_is_unavailable_for_a_moment_is_asked_again():
    away = {"type": "urn:dapple:problem:database-unavailable", "title": "The database does not answer", "status": 503}
    service = Service(says(away, 503), says(job()))
    assert service.client().get("J1").state is JobState.RUNNING
    with pytest.raises(ApiError, match="The database does not answer"):
        Service(says(away, 503)).client().get("J1")


def test_an_unparsable_address_is_unreachable():
    with pytest.raises(ServiceUnreachable):
        Client("http://host:port")


def test_a_refusal_names_the_fields_at_fault():
    problem = {
        "type": "urn:dapple:problem:invalid-spec",
        "title": "Invalid job",
        "status": 422,
        "detail": "1 field is wrong",
        "errors": [{"field": "guidance.scale", "message": "must be at least 0"}],
    }
    service = Service(says(problem, 422))

    with pytest.raises(ApiError) as refusal:
        service.client().submit({})

    assert refusal.value.problem.type == "urn:dapple:problem:invalid-spec"
    assert str(refusal.value) == "Invalid job:\n  guidance.scale: must be at least 0"
    assert len(service.requests) == 1


def test_a_refusal_that_is_no_problem_document_is_quoted():
    service = Service(lambda request: httpx.Response(502, text="<html>bad gateway</html>"))

    with pytest.raises(ApiError, match="502 Bad Gateway: <html>bad gateway</html>"):
        service.client().get("J1")


def test_validating_stores_nothing_and_returns_the_defaults():
    service = Service(says({"valid": True, "spec": SPEC.model_dump(mode="json")}))

    assert service.client().validate({"dataset_uri": "sklearn://digits", "ipc": 1}) == SPEC
    assert service.requests[0].url.params["validate_only"] == "true"


def test_listing_follows_the_cursor_to_the_last_page():
    first = says({"items": [listed("C"), listed("B")], "next_cursor": "after-B"})
    service = Service(first, says({"items": [listed("A")], "next_cursor": None}))

    ids = [item.id for item in service.client().list(state=JobState.RUNNING)]

    assert ids == ["C", "B", "A"]
    assert [dict(request.url.params).get("cursor") for request in service.requests] == [None, "after-B"]
    assert {request.url.params["state"] for request in service.requests} == {"running"}


def test_a_list_that_is_not_consumed_asks_for_no_further_page():
    service = Service(says({"items": [listed("B")], "next_cursor": "more"}))

    assert next(service.client().list()).id == "B"
    assert len(service.requests) == 1


def test_readiness_asks_once():
    service = Service(refuses)

    assert not service.client().ready()
    assert len(service.requests) == 1


def test_comments_and_events_without_data_are_skipped():
    content = b': ping\n\nretry: 1000\n\nid: 4\nevent: state\ndata: {"state": "running"}\n\n'

    (found,) = Service(streams(content), ended).client().events("J1")

    assert (found.id, found.type, found.body) == ("4", "state", {"state": "running"})


def test_an_answer_that_is_no_event_stream_is_of_another_version():
    with pytest.raises(OtherVersion, match="http://service speaks another version"):
        list(Service(says({})).client().events("J1"))


def test_a_broken_event_stream_is_taken_up_behind_the_last_event():
    service = Service(streams(event(1), event(2), broken=True), streams(event(3)), ended)

    assert [found.id for found in service.client().events("J1")] == ["1", "2", "3"]
    assert [request.headers.get("Last-Event-ID") for request in service.requests] == [None, "2", "3"]


PROGRESS = b'event: progress\ndata: {"fraction": 0.5, "phases": []}\n\n'


def happened(number: int, event_type: str, **body: str) -> bytes:
    return f"id: {number}\nevent: {event_type}\ndata: {json.dumps(body)}\n\n".encode()


def test_waiting_follows_the_stream_and_asks_for_the_job_once_at_the_end():
    story = (
        happened(1, "job.queued"),
        happened(2, "job.running"),
        happened(3, "job.phase", phase="sampling"),
        PROGRESS,
        happened(4, "job.warning", code="low_coverage", message="noise"),
        happened(5, "job.succeeded"),
    )
    service = Service(streams(*story), says(job("succeeded")))
    seen: list[JobStatus] = []

    ended = service.client().wait("J1", seen.append)

    assert ended.state is JobState.SUCCEEDED
    running, half = JobStatus(JobState.RUNNING), ProgressView(fraction=0.5, phases=())
    sampling = replace(running, phase=Phase.SAMPLING)
    assert seen == [running, sampling, replace(sampling, progress=half), JobStatus(JobState.SUCCEEDED, None, half)]
    assert [request.url.path for request in service.requests] == ["/v1/jobs/J1/events", "/v1/jobs/J1"]
    assert service.requests[0].url.params["tasks"] == "false"


def test_what_a_watcher_knows_outlives_a_broken_stream():
    first = streams(happened(1, "job.running"), happened(2, "job.phase", phase="sampling"), broken=True)
    service = Service(first, streams(PROGRESS, happened(9, "job.failed")), says(job("failed")))
    seen: list[JobStatus] = []

    service.client().wait("J1", seen.append)

    assert (seen[2].phase, seen[2].progress.fraction, seen[3].state) == (Phase.SAMPLING, 0.5, JobState.FAILED)
    assert service.requests[1].headers["Last-Event-ID"] == "2"


def test_attempts_that_ended_badly_are_asked_for_by_their_outcomes():
    attempt = {"kind": "sample", "ordinal": 3, "number": 1, "worker": "w", "started_at": "2026-01-01T00:00:00Z"}
    first, rest = (
        {"items": [attempt | {"number": number}], "next_cursor": cursor} for number, cursor in ((1, "1:T:1"), (2, None))
    )
    service = Service(says(first), says(rest))

    found = list(service.client().attempts("J1", outcomes=(Outcome.FAILED, Outcome.EXPIRED)))

    assert [one.number for one in found] == [1, 2]
    assert service.requests[1].url.params.multi_items() == [
        ("limit", "500"),
        ("outcome", "failed"),
        ("outcome", "expired"),
        ("cursor", "1:T:1"),
    ]


def test_progress_without_an_id_does_not_move_the_place_to_resume_from():
    progress = b'event: progress\ndata: {"fraction": 0.5}\n\n'
    service = Service(streams(event(1), progress), ended)

    found = list(service.client().events("J1"))

    assert [event.id for event in found] == ["1", "1"]
    assert service.requests[1].headers["Last-Event-ID"] == "1"


def test_waiting_for_a_job_that_has_ended_and_has_no_more_events_returns_at_once():
    def answer(request: httpx.Request) -> httpx.Response:
        return ended(request) if request.url.path.endswith("/events") else httpx.Response(200, json=job("failed"))

    assert Service(answer).client().wait("J1").state is JobState.FAILED


def test_a_download_is_verified_and_leaves_nothing_beside_it(tmp_path: Path):
    service = Service(says(job("succeeded", archive=True)), serves_archive())

    archive = service.client().download("J1", tmp_path / "new" / "out.zip")

    assert archive.sha256 == SHA256
    assert (tmp_path / "new" / "out.zip").read_bytes() == ARCHIVE
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.zip"]


def test_a_download_that_breaks_off_goes_on_where_it_stopped(tmp_path: Path):
    service = Service(says(job("succeeded", archive=True)), serves_archive(cut_at=1000), serves_archive())
    seen: list[int] = []

    service.client().download("J1", tmp_path / "out.zip", lambda done, total: seen.append(done))

    assert (tmp_path / "out.zip").read_bytes() == ARCHIVE
    assert service.requests[2].headers["Range"] == "bytes=1000-"
    assert service.requests[2].headers["If-Range"] == f'"{SHA256}"'
    assert seen == sorted(seen)


def test_a_later_process_takes_up_an_interrupted_download(tmp_path: Path):
    broken = Service(says(job("succeeded", archive=True)), serves_archive(cut_at=1000), refuses)
    with pytest.raises(ServiceUnreachable):
        broken.client().download("J1", tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()

    service = Service(says(job("succeeded", archive=True)), serves_archive())
    service.client().download("J1", tmp_path / "out.zip")

    assert service.requests[1].headers["Range"] == "bytes=1000-"
    assert (tmp_path / "out.zip").read_bytes() == ARCHIVE


def test_a_server_that_sends_the_whole_instead_of_a_range_is_followed(tmp_path: Path):
    cut, whole = serves_archive(cut_at=1000), serves_archive(ranges=False)
    service = Service(says(job("succeeded", archive=True)), cut, whole)

    service.client().download("J1", tmp_path / "out.zip")

    assert (tmp_path / "out.zip").read_bytes() == ARCHIVE


def test_wrong_bytes_never_reach_the_target(tmp_path: Path):
    (tmp_path / "out.zip").write_bytes(b"what was there before")
    service = Service(says(job("succeeded", archive=True)), serves_archive(ARCHIVE[:-1] + b"!"))

    with pytest.raises(DownloadCorrupt):
        service.client().download("J1", tmp_path / "out.zip")

    assert (tmp_path / "out.zip").read_bytes() == b"what was there before"
    assert [path.name for path in tmp_path.iterdir()] == ["out.zip"]


def test_a_digest_that_is_not_the_jobs_stops_the_download_before_it_begins(tmp_path: Path):
    wrong = {"Repr-Digest": "sha-256=:AAAA:"}
    service = Service(says(job("succeeded", archive=True)), lambda request: httpx.Response(200, content=ARCHIVE, headers=wrong))

    with pytest.raises(DownloadCorrupt, match="announces"):
        service.client().download("J1", tmp_path / "out.zip")

    assert list(tmp_path.iterdir()) == []


def test_a_target_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    service = Service(says(job("succeeded", archive=True)))

    with pytest.raises(TargetUnwritable, match=r"file/out\.zip cannot be written: "):
        service.client().download("J1", tmp_path / "file" / "out.zip")


def elsewhere(request: httpx.Request) -> httpx.Response:
    """The service names a URL of the object store."""
    return httpx.Response(302, headers={"Location": "https://store.example.org/bucket/key?X-Amz-Signature=1"})


def test_the_object_store_gets_none_of_the_services_headers(tmp_path: Path):
    cut, rest = serves_archive(cut_at=1000), serves_archive()
    service = Service(says(job("succeeded", archive=True)), elsewhere, cut, elsewhere, rest)

    service.client().download("J1", tmp_path / "out.zip")

    assert (tmp_path / "out.zip").read_bytes() == ARCHIVE
    asked, stored = service.requests[3], service.requests[4]
    assert (asked.url.host, asked.headers["Range"], asked.headers["If-Range"]) == ("service", "bytes=1000-", f'"{SHA256}"')
    assert (stored.url.host, stored.headers["Range"]) == ("store.example.org", "bytes=1000-")
    assert not {"If-Range", "Authorization", "Cookie"} & set(stored.headers)


def test_an_expired_url_is_asked_for_again(tmp_path: Path):
    expired = says({"Code": "AccessDenied"}, 403)
    service = Service(says(job("succeeded", archive=True)), elsewhere, expired, elsewhere, serves_archive())

    service.client().download("J1", tmp_path / "out.zip")

    assert (tmp_path / "out.zip").read_bytes() == ARCHIVE


def test_a_store_that_refuses_for_good_is_named(tmp_path: Path):
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "service":
            return says(job("succeeded", archive=True))(request) if request.url.path == "/v1/jobs/J1" else elsewhere(request)
        return httpx.Response(403, text="<Code>RequestTimeTooSkewed</Code>")

    with pytest.raises(
        ApiError, match=r"object store at store\.example\.org did not send the content: 403 Forbidden <Code>Req"
    ):
        Service(answer).client().download("J1", tmp_path / "out.zip")


def test_a_resumed_download_that_turns_out_wrong_starts_over_once(tmp_path: Path):
    (tmp_path / f"out.zip.{SHA256[:12]}.part").write_bytes(b"another archive's beginning")
    service = Service(says(job("succeeded", archive=True)), serves_archive(), serves_archive())

    service.client().download("J1", tmp_path / "out.zip")

    assert (tmp_path / "out.zip").read_bytes() == ARCHIVE
    assert ["Range" in request.headers for request in service.requests[1:]] == [True, False]


def test_a_preview_is_fetched_where_the_service_says():
    service = Service(elsewhere, lambda request: httpx.Response(200, content=b"PNG"))

    assert service.client().preview("J1") == b"PNG"
    assert [request.url.host for request in service.requests] == ["service", "store.example.org"]


def test_a_job_without_an_archive_has_nothing_to_download(tmp_path: Path):
    service = Service(says(job("failed")))

    with pytest.raises(ArtifactNotReady, match="J1 is failed"):
        service.client().download("J1", tmp_path / "out.zip")


def test_a_followed_job_outlives_a_restart_of_its_service():
    away = iter([True] * 4)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events") and "Last-Event-ID" not in request.headers:
            return streams(event(1, "job.running"))(request)
        if next(away, False):
            raise httpx.ConnectError("refused", request=request)
        return ended(request) if request.url.path.endswith("/events") else httpx.Response(200, json=job("succeeded"))

    client = Client("http://service", retry_delays=(0.0,), restart_delays=(0.0,) * 4, transport=httpx.MockTransport(answer))

    assert client.wait("J1").state is JobState.SUCCEEDED


def test_the_token_is_looked_up_again_for_a_service_that_was_started_again():
    tokens, sent = ["old", "new", "new"], []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["authorization"])
        return httpx.Response(401 if len(sent) == 1 else 200, json=job())

    with Client("http://service", transport=httpx.MockTransport(answer), access_token=lambda _: tokens.pop(0)) as client:
        assert client.get("J1").id == "J1"
    assert sent == ["Bearer old", "Bearer new"]


def test_a_refused_token_is_not_sent_for_ever():
    service = Service(says({"type": "about:blank", "title": "no", "status": 401}, 401))
    with (
        Client("http://service", transport=httpx.MockTransport(service), access_token=lambda _: "wrong") as client,
        pytest.raises(ApiError),
    ):
        client.get("J1")
    assert len(service.requests) == 1


def test_an_answer_of_another_version_is_an_error_in_words():
    strange = job() | {"state": "paused"}
    with pytest.raises(OtherVersion, match="the service at http://service speaks another version of this API: state: Input"):
        Service(says(strange)).client().get("J1")
    with pytest.raises(OtherVersion, match="Invalid JSON"):
        Service(lambda request: httpx.Response(200, content=b"<html>")).client().workers()


def test_what_an_earlier_or_a_later_version_answers_is_read_as_far_as_possible():
    links = {name: job()["links"][name] for name in ("self", "events", "cancel")}
    seen = Service(says(job() | {"links": links, "warnings": [{"code": "later", "message": "look"}]})).client().get("J1")
    assert (seen.links.tasks, seen.links.attempts) == ("", "")
    assert [(one.code, one.message) for one in seen.warnings] == [("later", "look")]


def test_the_token_of_a_service_is_sent_to_the_address_that_it_listens_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`localhost` may lead to [::1], where another account may listen."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("DAPPLE_ACCESS_TOKEN", raising=False)
    announce(tmp_path, RunningService("http://127.0.0.1:8123", 42, "the-token-of-this-service"))
    service = Service(says({"items": []}))
    for url in ("http://localhost:8123", "http://[::1]:8123"):
        with Client(url, transport=httpx.MockTransport(service)) as client:
            client.workers()
    sent = [(request.url.host, request.headers.get("Authorization")) for request in service.requests]
    assert sent == [("127.0.0.1", "Bearer the-token-of-this-service"), ("::1", None)]
