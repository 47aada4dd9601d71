"""Results that lie in an object store: the service names a URL, and bytes do not pass through it."""

import base64
import hashlib
import shutil
import subprocess
import threading
import time
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.client import Client
from app.main import create_app
from tests.servers.s3 import Bucket, free_port
from tests.unit.app.stored import succeeded

pytestmark = pytest.mark.s3

ZIP = bytes(range(256)) * 8000
PNG = b"\x89PNG"


@pytest.fixture
def app(bucket: Bucket, tmp_path: Path) -> FastAPI:
    return create_app(bucket.settings(data_dir=tmp_path / "data"))


@pytest.fixture
def client(app: FastAPI) -> Generator[TestClient]:
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as client:
        yield client


@pytest.fixture
def job(app: FastAPI, client: TestClient, tmp_path: Path) -> str:
    """The URL of a job that has succeeded; its archive would be saved as dapple-any.zip."""
    stored = {}
    for name, content, media_type in (("dapple-any.zip", ZIP, "application/zip"), ("preview.png", PNG, "image/png")):
        (tmp_path / name).write_bytes(content)
        stored[name] = app.state.resources.store.put(f"jobs/any/{name}", tmp_path / name, media_type)
    return f"/v1/jobs/{succeeded(app.state.resources.database, stored['dapple-any.zip'], stored['preview.png'])}"


@pytest.mark.parametrize(("name", "content"), [("archive", ZIP), ("preview.png", PNG)])
def test_a_result_is_fetched_from_the_store_by_the_url_that_the_service_names(
    client: TestClient, job: str, name: str, content: bytes
) -> None:
    answer = client.get(f"{job}/{name}")
    digest = hashlib.sha256(content)
    assert (answer.status_code, answer.content) == (302, b"")
    assert answer.headers["etag"] == f'"{digest.hexdigest()}"'
    assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert answer.headers["cache-control"] == "no-store"
    assert httpx.get(answer.headers["location"]).content == content


def test_a_head_request_is_sent_to_a_url_that_answers_it(client: TestClient, job: str) -> None:
    answer = client.head(f"{job}/archive")
    stored = httpx.head(answer.headers["location"])
    assert (answer.status_code, stored.status_code, stored.headers["content-length"]) == (302, 200, str(len(ZIP)))


def test_what_the_client_has_is_not_named_again(client: TestClient, job: str) -> None:
    etag = client.get(f"{job}/archive").headers["etag"]
    answer = client.get(f"{job}/archive", headers={"If-None-Match": etag})
    assert (answer.status_code, answer.headers["etag"], "location" in answer.headers) == (304, etag, False)


def test_an_impossible_range_is_refused_before_the_store_is_asked(client: TestClient, job: str) -> None:
    assert client.get(f"{job}/archive", headers={"Range": "bytes=99999999-"}).status_code == 416


def test_the_service_is_well_when_its_bucket_answers(client: TestClient) -> None:
    assert client.get("/readyz").json() == {"status": "ok"}


def test_a_store_that_is_away_is_named_and_takes_no_replica_down(bucket: Bucket, tmp_path: Path) -> None:
    settings = bucket.settings(data_dir=tmp_path / "data", s3_endpoint=f"http://127.0.0.1:{free_port()}")
    with TestClient(create_app(settings)) as client:
        answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert "there is no connection to http://127.0.0.1" in answer.json()["store"]


@pytest.fixture
def served(app: FastAPI, job: str) -> Generator[str]:
    """The URL of the service as a process would serve it."""
    server = uvicorn.Server(uvicorn.Config(app, port=free_port(), log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.config.port}"
    server.should_exit = True
    thread.join()


def test_the_client_follows_verifies_and_resumes(served: str, job: str, tmp_path: Path) -> None:
    job_id = job.rpartition("/")[2]
    with Client(served) as client:
        archive = client.download(job_id, tmp_path / "out.zip")
        assert (tmp_path / "out.zip").read_bytes() == ZIP
        (tmp_path / f"again.zip.{archive.sha256[:12]}.part").write_bytes(ZIP[:1_000_000])
        seen: list[int] = []
        client.download(job_id, tmp_path / "again.zip", lambda done, total: seen.append(done))
        assert seen[0] > 1_000_000
        assert (tmp_path / "again.zip").read_bytes() == ZIP
        (tmp_path / f"other.zip.{archive.sha256[:12]}.part").write_bytes(b"something else")
        client.download(job_id, tmp_path / "other.zip")
        assert (tmp_path / "other.zip").read_bytes() == ZIP
        assert client.preview(job_id) == PNG


@pytest.mark.parametrize("content", [None, ZIP[:-1], ZIP + b"x"], ids=["gone", "short", "long"])
def test_a_damaged_result_is_told_and_its_url_is_not_given(
    app: FastAPI, client: TestClient, job: str, tmp_path: Path, content: bytes | None
) -> None:
    store, key = app.state.resources.store, "jobs/any/dapple-any.zip"
    store.delete([key])
    if content is not None:
        (tmp_path / "other").write_bytes(content)
        store.put(key, tmp_path / "other", "application/zip")
    for method in ("GET", "HEAD"):
        answer = client.request(method, f"{job}/archive")
        assert (answer.status_code, "location" in answer.headers) == (500, False)
    problem = client.get(f"{job}/archive").json()
    assert problem["type"] == "urn:dapple:problem:artifact-damaged"
    assert "submit its spec again" in problem["detail"]
    assert client.get(f"{job}/preview.png").status_code == 302


def test_curl_saves_the_archive_under_its_name(served: str, job: str, tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    (tmp_path / "downloads").mkdir()
    subprocess.run([curl, "-sLOJ", f"{served}{job}/archive"], cwd=tmp_path / "downloads", check=True)
    assert (tmp_path / "downloads" / "dapple-any.zip").read_bytes() == ZIP
