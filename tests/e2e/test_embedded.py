"""The embedded service as its user meets it: real processes, a real database, a real backbone, and real kills."""

import base64
import hashlib
import io
import json
import subprocess
import zipfile
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from PIL import Image

from app.cli.demo import own_service
from app.client import ApiError, Client
from app.domain.errors import ArtifactNotReady
from app.domain.job import JobState
from tests.e2e.service import DAPPLE, Service, archive_digest, in_the_middle_of_sampling, succeeded

SPEC = {
    "dataset_uri": "sklearn://digits",
    "ipc": 1,
    "classes": ["0", "1", "2"],
    "kernel_bandwidth": "median",
    "sampling": {"steps": 60},
    "reference": {"count": 16},
}
ENDLESS = SPEC | {"ipc": 10, "sampling": {"steps": 1000}}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Generator[Service]:
    service = Service(tmp_path_factory.mktemp("shared"))
    yield service
    if service.running:
        service.terminate()


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
    answer = httpx.get(f"{service.url}/v1/jobs/{job_id}/archive")

    assert answer.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(bytes.fromhex(undisturbed)).decode()}:"
    again = httpx.get(f"{service.url}/v1/jobs/{job_id}/archive", headers={"If-None-Match": answer.headers["ETag"]})
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


def test_a_killed_runner_is_replaced_and_the_bytes_are_the_same(service: Service, client: Client, undisturbed: str):
    job = client.submit(SPEC)
    in_the_middle_of_sampling(client, job.id)

    service.runner().kill()

    ended = succeeded(client, job.id)
    assert ended.archive and ended.archive.sha256 == undisturbed
    assert "expired" in {attempt.outcome for attempt in ended.attempts}


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


def test_a_service_killed_with_its_runner_goes_on_after_a_restart_with_the_same_bytes(undisturbed: str, tmp_path: Path):
    service = Service(tmp_path / "fresh")
    service.start()
    job = service.client.submit(SPEC)
    in_the_middle_of_sampling(service.client, job.id)

    service.kill(with_runner=True)
    service.start()
    ended = succeeded(service.client, job.id)
    service.terminate()

    assert ended.archive and ended.archive.sha256 == undisturbed


def test_a_runner_does_not_outlive_a_killed_service(service: Service, client: Client):
    job = client.submit(ENDLESS)
    in_the_middle_of_sampling(client, job.id)
    runner = service.runner()

    service.kill(with_runner=False)

    psutil.wait_procs([runner])
    service.start()
    service.client.cancel(job.id)


def test_sigterm_ends_both_processes_in_order(service: Service):
    runner = service.runner()

    assert service.terminate() == 0
    assert not runner.is_running()
    assert not service.announcement.exists()


def test_a_taken_port_is_refused_with_the_way_out(service: Service, tmp_path: Path):
    port = urlsplit(service.url).port
    result = subprocess.run([*DAPPLE, "up", "--port", str(port), "--data-dir", tmp_path], capture_output=True, text=True)

    assert result.returncode == 2
    assert f"port {port} of 127.0.0.1 is in use" in result.stderr


def test_a_data_folder_serves_one_service_only(service: Service):
    result = subprocess.run([*DAPPLE, "up", "--port", "0", "--data-dir", service.data_dir], capture_output=True, text=True)

    assert result.returncode == 2
    assert f"process {service.process.pid}" in result.stderr


def test_a_service_of_ones_own_ends_with_its_block_and_in_order(tmp_path: Path):
    with own_service(tmp_path) as url, Client(url) as client:
        assert client.ready()
        pid = json.loads((tmp_path / "service.json").read_text())["pid"]

    assert not psutil.pid_exists(pid)
    assert not (tmp_path / "service.json").exists()
    assert "Fatal" not in (tmp_path / "service.log").read_text()


def test_a_service_of_ones_own_ends_when_the_process_that_started_it_is_gone(tmp_path: Path):
    command = [*DAPPLE, "up", "--port", "0", "--data-dir", str(tmp_path), "--with-parent"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as service:
        assert service.stdin and service.stdout
        assert service.stdout.readline()  # the service is up

        service.stdin.close()

        assert service.wait() == 0
