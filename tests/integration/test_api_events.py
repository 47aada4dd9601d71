"""The event stream, over a real socket: what ends it cannot be seen without one."""

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import httpx
import pytest
import uvicorn

from app.client.job_status import JobStatus
from app.db import jobs, leases
from app.domain.job import JobState, Progress
from app.main import create_app
from app.services.resources import Resources
from app.settings import Settings
from tests.unit.app.stored import claimed, prepared, submitted, succeeded

Event = dict[str, str]


@pytest.fixture
def server(settings: Settings) -> Generator[tuple[httpx.Client, Resources]]:
    app = create_app(settings)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        running = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=20))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.Client(base_url=url, timeout=30, transport=httpx.HTTPTransport(retries=20)) as client:
            yield client, app.state.resources
        running.should_exit = True
        app.state.closing.set()
        thread.join()


@contextmanager
def stream(client: httpx.Client, job_id: str, **headers: str) -> Generator[Iterator[Event]]:
    with client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield parsed(answer.iter_lines())


def parsed(lines: Iterator[str]) -> Iterator[Event]:
    event: Event = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line:
            event[name] = value
        elif "event" in event:
            yield event
            event = {}
        else:
            event = {}


def numbered(events: Iterator[Event]) -> list[Event]:
    return [event for event in events if "id" in event]


def test_a_finished_job_tells_its_whole_story_and_ends(server: tuple[httpx.Client, Resources]) -> None:
    client, resources = server
    with stream(client, succeeded(resources.database)) as events:
        story = numbered(events)
    assert [event["event"] for event in story][:3] == ["job.queued", "job.running", "job.phase"]
    assert story[-1]["event"] == "job.succeeded"
    assert json.loads(story[2]["data"])["phase"] == "preparing"
    assert "at" in json.loads(story[0]["data"])


def test_a_stream_may_leave_out_what_happens_to_tasks(server: tuple[httpx.Client, Resources]) -> None:
    client, resources = server
    job_id = succeeded(resources.database)
    with client.stream("GET", f"/v1/jobs/{job_id}/events?tasks=false") as answer:
        assert "content-encoding" not in answer.headers
        events = list(parsed(answer.iter_lines()))
    status = JobStatus()
    for event in events:
        status = status.after(event["event"], json.loads(event["data"]))
    assert not any(event["event"].startswith("task.") for event in events)
    assert (status.state, status.phase, status.progress.fraction) == (JobState.SUCCEEDED, None, 1.0)
    ended = client.get(f"/v1/jobs/{job_id}/events?tasks=false", headers={"Last-Event-ID": events[-1]["id"]})
    assert ended.status_code == 204


def test_a_stream_resumes_after_the_last_event_seen(server: tuple[httpx.Client, Resources]) -> None:
    client, resources = server
    job_id = succeeded(resources.database)
    with stream(client, job_id) as events:
        story = numbered(events)
    with stream(client, job_id, **{"Last-Event-ID": story[3]["id"]}) as events:
        assert numbered(events) == story[4:]
    answer = client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": story[-1]["id"]})
    assert answer.status_code == 204


def test_what_happens_meanwhile_is_told_until_the_job_ends(server: tuple[httpx.Client, Resources]) -> None:
    client, resources = server
    job_id = prepared(resources.database, samples=1)
    with stream(client, job_id) as events:
        first = next(event for event in events if event["event"] == "progress")
        lease = claimed(resources.database)
        with resources.database.transaction() as session:
            leases.renew(session, lease, 60, Progress(25, 50))
        second = next(event for event in events if event["event"] == "progress")
        with resources.database.transaction() as session:
            jobs.request_cancel(session, job_id)
            leases.cancelled(session, lease)
        last = numbered(events)[-1]
    fractions = [json.loads(event["data"])["fraction"] for event in (first, second)]
    assert "id" not in first
    assert fractions[0] < fractions[1]
    assert last["event"] == "job.cancelled"


def test_a_deleted_job_ends_its_stream(server: tuple[httpx.Client, Resources]) -> None:
    client, resources = server
    job_id = submitted(resources.database)
    with stream(client, job_id) as events:
        assert [next(events)["event"] for _ in range(2)] == ["progress", "job.queued"]
        with resources.database.transaction() as session:
            jobs.request_cancel(session, job_id)
            jobs.delete(session, job_id)
        assert list(events) == []


def test_many_watchers_leave_the_service_answering(server: tuple[httpx.Client, Resources]) -> None:
    client, resources = server
    job_id = submitted(resources.database)
    streams = [stream(client, job_id) for _ in range(30)]
    opened = [one.__enter__() for one in streams]
    assert all(next(events) for events in opened)
    assert client.get("/readyz").status_code == 200
    for one in streams:
        one.__exit__(None, None, None)


def test_an_open_stream_does_not_hold_up_a_shutdown(settings: Settings) -> None:
    """With the server's own command: the signal must end the stream, no time limit must be needed."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "app.main:create_app", "--factory", "--port", str(port)]
    with subprocess.Popen(command, env=settings.as_environment(), stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            any("running on" in line for line in process.stderr)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                body = {"dataset_uri": "sklearn://digits", "ipc": 1, "backbone": "tiny"}
                job_id = client.post("/v1/jobs", json=body).json()["id"]
                with stream(client, job_id) as events:
                    next(events)
                    process.send_signal(signal.SIGTERM)
                    assert all("id" in event or event["event"] == "progress" for event in events)
            assert "Finished server process" in process.stderr.read()
        finally:
            process.kill()
