"""The service as its user meets it, run in both ways: real processes and services, a real backbone, and real kills."""

import base64
import hashlib
import io
import json
import os
import subprocess
import time
import zipfile
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from app.access_token import token_for
from app.client import ApiError, Client
from app.domain.errors import ArtifactNotReady
from app.domain.job import JobState, Outcome
from tests.databases import PostgresServer
from tests.e2e.distributed import Distributed, why_not_distributed
from tests.e2e.embedded import Embedded
from tests.e2e.service import DAPPLE, Service, archive_digest, in_the_middle_of_sampling, succeeded
from tests.servers.brokers import skip_without
from tests.servers.s3 import ENDPOINT, Bucket, CephServer
from tests.waiting import wait_long

SPEC = {
    "dataset_uri": "sklearn://digits",
    "ipc": 1,
    "classes": ["0", "1", "2"],
    "kernel_bandwidth": "median",
    "sampling": {"steps": 60},
    "reference": {"count": 16},
}
# Unguided: features of real images at a thousand timesteps would be a job of their own.
ENDLESS = SPEC | {"ipc": 10, "sampling": {"steps": 1000}, "guidance": {"objective": "none"}}
STEP_SECONDS = 3.0  # more than any step of these jobs takes, also beside other work


@pytest.fixture(
    scope="module", params=["embedded", pytest.param("distributed", marks=[pytest.mark.postgres, pytest.mark.redis])]
)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Service]:
    service = new_service(request, tmp_path_factory.mktemp("shared"))
    yield service
    if service.running:
        service.terminate()


def new_service(request: pytest.FixtureRequest, data_dir: Path) -> Service:
    """Not yet started, of the kind that the test is run with."""
    if request.param == "embedded":
        return Embedded(data_dir)
    skip_without(why_not_distributed())
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return Distributed(data_dir, postgres, **store_environment(request))


def store_environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """S3 where a server can be had, else a folder that all processes share."""
    if ENDPOINT not in os.environ and CephServer.missing():
        return {}
    bucket: Bucket = request.getfixturevalue("bucket")
    return bucket.environment


@pytest.fixture
def service(shared: Service) -> Service:
    if not shared.running:
        shared.start()
    return shared


@pytest.fixture
def client(service: Service) -> Client:
    return service.client


@pytest.fixture(scope="module")
def undisturbed(shared: Service) -> str:
    """SHA-256 of the archive that SPEC gives when nothing goes wrong."""
    if not shared.running:
        shared.start()
    return archive_digest(shared.client, SPEC)


@pytest.fixture
def job_id(client: Client, undisturbed: str) -> str:
    """A job of SPEC that has succeeded."""
    return next(job.id for job in client.list(state=JobState.SUCCEEDED) if job.archive and job.archive.sha256 == undisturbed)


def test_a_job_gives_an_image_folder_that_loads(client: Client, job_id: str, tmp_path: Path):
    archive = client.download(job_id, tmp_path / "out.zip")

    assert (tmp_path / "out.zip").stat().st_size == archive.size_bytes
    with zipfile.ZipFile(tmp_path / "out.zip") as content:
        assert content.testzip() is None
        images = [name for name in content.namelist() if name.startswith("train/") and name.endswith(".png")]
        assert sorted(name.split("/")[1] for name in images) == ["0", "1", "2"]
        for name in images:
            Image.open(io.BytesIO(content.read(name))).load()
        assert {"manifest.json", "README.md", "preview.png", "train/metadata.parquet"} <= set(content.namelist())


def test_the_archive_announces_its_digest_and_its_tag(service: Service, job_id: str, undisturbed: str):
    token = token_for(service.url)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = httpx.get(f"{service.url}/v1/jobs/{job_id}/archive", headers=headers)

    assert answer.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(bytes.fromhex(undisturbed)).decode()}:"
    again = httpx.get(f"{service.url}/v1/jobs/{job_id}/archive", headers=headers | {"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_an_interrupted_download_goes_on_where_it_stopped(client: Client, job_id: str, undisturbed: str, tmp_path: Path):
    client.download(job_id, tmp_path / "whole.zip")
    whole = (tmp_path / "whole.zip").read_bytes()
    (tmp_path / f"out.zip.{undisturbed[:12]}.part").write_bytes(whole[:-100])
    seen: list[int] = []

    client.download(job_id, tmp_path / "out.zip", lambda done, total: seen.append(done))

    assert (tmp_path / "out.zip").read_bytes() == whole
    assert seen == [len(whole)]


def test_the_event_stream_resumes_behind_any_event(client: Client, job_id: str):
    everything = [event for event in client.events(job_id) if event.id]
    middle = len(everything) // 2

    resumed = [event for event in client.events(job_id, after=everything[middle].id) if event.id]

    assert len(everything) > 2
    assert resumed == everything[middle + 1 :]


def test_the_same_key_gives_the_same_job_and_the_same_spec_a_new_one(client: Client):
    first = client.submit(ENDLESS, idempotency_key="once")

    assert client.submit(ENDLESS, idempotency_key="once").id == first.id
    with pytest.raises(ApiError):
        client.submit(SPEC, idempotency_key="once")
    client.cancel(first.id)


def test_the_command_line_distils_waits_and_downloads(service: Service, tmp_path: Path):
    command = ["distil", "sklearn://digits", "--ipc", "1", "--bandwidth", "median", "--classes", "0,1,2", "--steps", "5"]
    options = ["-o", str(tmp_path / "out.zip"), "--json", "--url", service.url]

    result = subprocess.run([*DAPPLE, *command, *options], capture_output=True, text=True)

    assert result.returncode == 0, result.stderr
    digest = hashlib.sha256((tmp_path / "out.zip").read_bytes()).hexdigest()
    assert json.loads(result.stdout)["archive"]["sha256"] == digest


def test_a_killed_worker_is_replaced_and_the_bytes_are_the_same(service: Service, client: Client, undisturbed: str):
    job = client.submit(SPEC)
    in_the_middle_of_sampling(client, job.id)

    service.kill_worker_of(job.id)

    ended = succeeded(client, job.id)
    assert ended.archive and ended.archive.sha256 == undisturbed
    assert [attempt.outcome for attempt in service.client.attempts(ended.id)].count(Outcome.EXPIRED) == 1


def test_a_running_job_is_cancelled_before_its_sampling_ends_and_leaves_no_archive(client: Client, tmp_path: Path):
    job = client.submit(ENDLESS)
    in_the_middle_of_sampling(client, job.id)

    client.cancel(job.id)
    ended = client.wait(job.id)

    assert ended.state is JobState.CANCELLED
    assert ended.progress.fraction < 1
    with pytest.raises(ArtifactNotReady):
        client.download(job.id, tmp_path / "out.zip")
    with pytest.raises(ApiError):
        client.preview(job.id)
    assert client.cancel(job.id).state is JobState.CANCELLED


def test_a_running_job_stops_within_a_step_and_two_seconds(client: Client):
    job = client.submit(ENDLESS)
    in_the_middle_of_sampling(client, job.id)
    asked = time.monotonic()

    client.cancel(job.id)

    wait_long(lambda: client.get(job.id).state is JobState.CANCELLED)
    assert time.monotonic() - asked < STEP_SECONDS + 2


def test_a_job_that_waits_is_cancelled_at_once_and_others_go_on(client: Client):
    busy = [client.submit(ENDLESS).id for _ in client.workers()]
    for job_id in busy:
        in_the_middle_of_sampling(client, job_id)
    waiting = client.submit(SPEC)
    asked = time.monotonic()

    assert client.cancel(waiting.id).state is JobState.CANCELLED

    assert time.monotonic() - asked < 3
    assert {client.get(job_id).state for job_id in busy} == {JobState.RUNNING}
    for job_id in busy:
        client.cancel(job_id)


def test_workers_are_listed_with_what_they_run(service: Service, client: Client):
    job = client.submit(ENDLESS)
    in_the_middle_of_sampling(client, job.id)

    worker = service.worker_of(job.id)

    assert worker.task and worker.task.kind == "sample"
    assert (set(worker.queues), worker.memory_bytes > 0) == ({"cpu", "gpu"}, True)
    client.cancel(job.id)


def test_a_service_killed_as_a_whole_goes_on_after_a_restart_with_the_same_bytes(
    service: Service, client: Client, undisturbed: str
):
    job = client.submit(SPEC)
    in_the_middle_of_sampling(client, job.id)

    service.kill()
    service.start()

    ended = succeeded(service.client, job.id)
    assert ended.archive and ended.archive.sha256 == undisturbed


def test_sigterm_ends_every_process_and_the_task_is_given_back(service: Service, client: Client):
    job = client.submit(ENDLESS)
    in_the_middle_of_sampling(client, job.id)
    asked = time.monotonic()

    assert service.terminate() == 0

    assert time.monotonic() - asked < 9
    service.start()
    released = [attempt for attempt in service.client.attempts(job.id) if attempt.outcome is Outcome.RELEASED]
    assert len(released) == 1
    service.client.cancel(job.id)
