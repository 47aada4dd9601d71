import base64
import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest
from fastapi.testclient import TestClient

from app.services.jobs import delete
from app.services.resources import Resources
from app.settings import Settings
from app.storage.local import LocalArtifactStore
from tests.unit.app.stored import prepared, succeeded, write_backbone, write_stable_diffusion_3

ZIP = bytes(range(256)) * 8
PNG = b"\x89PNG"


@pytest.fixture
def job(resources: Resources, tmp_path: Path) -> str:
    """The URL of a job that has succeeded."""
    files = {"archive.zip": (ZIP, "application/zip"), "preview.png": (PNG, "image/png")}
    stored = {}
    for name, (content, media_type) in files.items():
        (tmp_path / name).write_bytes(content)
        stored[name] = resources.store.put(f"jobs/any/{name}", tmp_path / name, media_type)
    return f"/v1/jobs/{succeeded(resources.database, stored['archive.zip'], stored['preview.png'])}"


def test_an_archive_comes_with_its_digest_and_name(client: TestClient, job: str) -> None:
    answer = client.get(f"{job}/archive")
    digest = hashlib.sha256(ZIP)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, ZIP, "application/zip")
    assert answer.headers["etag"] == f'"{digest.hexdigest()}"'
    assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert answer.headers["content-disposition"] == f'attachment; filename="dapple-{job.rpartition("/")[2]}.zip"'
    told = client.get(job).json()
    assert told["archive"] == {"sha256": digest.hexdigest(), "size_bytes": len(ZIP), "media_type": "application/zip"}
    assert told["links"]["archive"] == f"{job}/archive"


def test_a_head_request_has_the_same_headers_and_no_body(client: TestClient, job: str) -> None:
    head, get = client.head(f"{job}/archive"), client.get(f"{job}/archive")
    assert (head.status_code, head.content) == (200, b"")
    assert {name: head.headers[name] for name in ("etag", "content-length", "repr-digest", "accept-ranges")} == {
        name: get.headers[name] for name in ("etag", "content-length", "repr-digest", "accept-ranges")
    }


def test_whatever_can_be_read_answers_a_head_request(client: TestClient, job: str) -> None:
    for url in (job, f"{job}/metrics", f"{job}/preview.png", "/v1/jobs", "/v1/backbones", "/livez", "/readyz"):
        head, get = client.head(url), client.get(url)
        assert (head.status_code, head.headers["content-length"]) == (200, get.headers["content-length"])


def test_an_interrupted_download_is_taken_up_again(client: TestClient, job: str) -> None:
    etag = client.head(f"{job}/archive").headers["etag"]
    rest = client.get(f"{job}/archive", headers={"Range": "bytes=2000-", "If-Range": etag})
    assert (rest.status_code, rest.content) == (206, ZIP[2000:])
    assert rest.headers["content-range"] == f"bytes 2000-{len(ZIP) - 1}/{len(ZIP)}"
    assert rest.headers["repr-digest"] == client.head(f"{job}/archive").headers["repr-digest"]


def test_a_range_of_another_archive_is_answered_with_the_whole(client: TestClient, job: str) -> None:
    answer = client.get(f"{job}/archive", headers={"Range": "bytes=99999-", "If-Range": '"other"'})
    assert (answer.status_code, answer.content) == (200, ZIP)


@pytest.mark.parametrize(("value", "status"), [("bytes=99999-", 416), ("bytes=x", 400)])
def test_an_impossible_range_is_a_problem(client: TestClient, job: str, value: str, status: int) -> None:
    answer = client.get(f"{job}/archive", headers={"Range": value})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    if status == 416:
        assert answer.headers["content-range"] == f"bytes */{len(ZIP)}"


@pytest.mark.parametrize("value", ["items=0-5", "bytes=9999-,99999-", "bytes=0-1,5-6"])
def test_a_range_that_is_not_served_is_answered_with_the_whole(client: TestClient, job: str, value: str) -> None:
    answer = client.get(f"{job}/archive", headers={"Range": value})
    assert (answer.status_code, answer.content) == (200, ZIP)


@pytest.mark.parametrize("value", ["bytes=0-5", "bytes=99999-"])
def test_a_range_means_nothing_to_a_head_request_or_a_preview(client: TestClient, job: str, value: str) -> None:
    head = client.head(f"{job}/archive", headers={"Range": value})
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(ZIP)))
    preview = client.get(f"{job}/preview.png", headers={"Range": value})
    assert (preview.status_code, preview.content) == (200, PNG)


def test_who_has_the_content_is_told_so_before_its_range_is_looked_at(client: TestClient, job: str) -> None:
    etag = client.head(f"{job}/archive").headers["etag"]
    assert client.get(f"{job}/archive", headers={"If-None-Match": etag, "Range": "bytes=99999-"}).status_code == 304


@pytest.mark.parametrize("name", ["archive", "preview.png"])
def test_what_the_client_has_is_not_sent_again(client: TestClient, job: str, name: str) -> None:
    etag = client.get(f"{job}/{name}").headers["etag"]
    answer = client.get(f"{job}/{name}", headers={"If-None-Match": etag})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)


def test_preview_and_metrics_are_served(client: TestClient, job: str) -> None:
    preview = client.get(f"{job}/preview.png")
    assert (preview.content, preview.headers["content-type"]) == (PNG, "image/png")
    assert client.get(f"{job}/metrics").json() == {"guided": {"mean": 97.1}}


@pytest.mark.parametrize("name", ["archive", "preview.png", "metrics"])
def test_what_is_not_there_yet_is_a_conflict_naming_the_state(client: TestClient, resources: Resources, name: str) -> None:
    answer = client.get(f"/v1/jobs/{prepared(resources.database)}/{name}")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:dapple:problem:artifact-not-ready")
    assert "the job is running" in answer.json()["detail"]


def test_backbones_are_listed(client: TestClient, settings: Settings) -> None:
    write_stable_diffusion_3(settings.data_dir / "backbones" / "words")
    listed = {backbone["name"]: backbone for backbone in client.get("/v1/backbones").json()["items"]}
    tiny = listed["tiny"]
    assert (tiny["family"], tiny["prompted"], tiny["image_size"], tiny["channels"]) == ("dit", False, 8, 1)
    assert tiny["taps"] == [f"transformer_blocks.{block}" for block in range(6)]
    assert tiny["schedulers"] == ["ddpm", "ddim", "dpm-solver++"]
    assert tiny["classes"] == list("0123456789")
    words = listed["words"]
    assert (words["family"], words["prompted"], words["classes"]) == ("stable-diffusion-3", True, [])
    assert (words["schedulers"], words["image_size"]) == (["flow-euler"], 16)


def test_many_blocks_are_listed_as_a_count_and_a_pattern(client: TestClient, settings: Settings) -> None:
    write_backbone(settings.data_dir / "backbones" / "deep", num_layers=256)
    deep = {backbone["name"]: backbone for backbone in client.get("/v1/backbones").json()["items"]}["deep"]
    assert (deep["taps"], deep["tap_count"], deep["tap_pattern"]) == ([], 256, "transformer_blocks.{0..255}")


def test_one_odd_folder_is_left_out_of_the_list_of_backbones(client: TestClient, settings: Settings) -> None:
    roots = settings.data_dir / "backbones"
    write_backbone(roots / os.fsdecode(b"caf\xe9"))
    write_backbone(roots / "numbers", num_layers=10**9)
    (roots / "model.ckpt").touch()
    answer = client.get("/v1/backbones")
    assert (answer.status_code, [one["name"] for one in answer.json()["items"]]) == (200, ["embedded/digits", "tiny"])


def _place(settings: Settings, name: str) -> Path:
    return settings.artifacts_dir / "jobs" / "any" / name


@pytest.mark.parametrize(("url", "name"), [("archive", "archive.zip"), ("preview.png", "preview.png")])
@pytest.mark.parametrize("damage", ["gone", "short", "long", "link", "folder", "pipe"])
def test_a_damaged_output_is_never_served(
    client: TestClient, job: str, settings: Settings, tmp_path: Path, url: str, name: str, damage: str
) -> None:
    place, content = _place(settings, name), _place(settings, name).read_bytes()
    place.unlink()
    if damage == "link":
        (tmp_path / "same").write_bytes(content)
        place.symlink_to(tmp_path / "same")
    elif damage == "folder":
        place.mkdir()
    elif damage == "pipe":
        os.mkfifo(place)
    elif damage != "gone":
        place.write_bytes(content[:-1] if damage == "short" else content + b"x")
    for method in ("GET", "HEAD"):
        answer = client.request(method, f"{job}/{url}")
        assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
        assert "repr-digest" not in answer.headers
    assert client.get(f"{job}/{url}").json()["type"] == "urn:dapple:problem:artifact-damaged"
    assert "submit its spec again" in client.get(f"{job}/{url}").json()["detail"]


def test_a_job_deleted_while_its_archive_is_opened_is_404(client: TestClient, job: str, resources: Resources) -> None:
    class Deleting(LocalArtifactStore):
        def file(self, key: str) -> IO[bytes]:
            delete(resources, job.rpartition("/")[2])
            resources.store.delete_prefix("jobs/any/")
            return super().file(key)

    slow = Deleting(resources.settings.artifacts_dir)
    client.app.state.resources = replace(resources, store=slow)  # type: ignore[attr-defined]
    assert client.get(f"{job}/archive").status_code == 404


def test_a_download_beside_a_delete_is_whole(client: TestClient, job: str, resources: Resources) -> None:
    class DeletedMeanwhile(LocalArtifactStore):
        def file(self, key: str) -> IO[bytes]:
            opened = super().file(key)
            delete(resources, job.rpartition("/")[2])
            resources.store.delete_prefix("jobs/any/")
            return opened

    client.app.state.resources = replace(resources, store=DeletedMeanwhile(resources.settings.artifacts_dir))  # type: ignore[attr-defined]
    assert client.get(f"{job}/archive").content == ZIP
    assert client.get(f"{job}/archive").status_code == 404


def test_content_with_another_tag_than_the_client_wants_is_412(client: TestClient, job: str) -> None:
    etag = client.head(f"{job}/archive").headers["etag"]
    for url in (f"{job}/archive", f"{job}/preview.png", job):
        assert client.get(url, headers={"If-Match": '"other"'}).status_code == 412
        assert client.get(url, headers={"If-Match": client.get(url).headers["etag"]}).status_code == 200
    assert client.get(f"{job}/archive", headers={"If-Match": f"W/{etag}", "If-None-Match": etag}).status_code == 412


@pytest.mark.parametrize(
    ("value", "status", "content"),
    [
        ("bytes=0-99999999999999999999", 206, ZIP),
        ("bytes=2040-99999999999999999999", 206, ZIP[2040:]),
        ("bytes=-99999999999999999999", 206, ZIP),
        ("bytes=-8", 206, ZIP[-8:]),
        ("bytes=5-5", 206, ZIP[5:6]),
    ],
)
def test_a_range_of_any_size_is_served(client: TestClient, job: str, value: str, status: int, content: bytes) -> None:
    answer = client.get(f"{job}/archive", headers={"Range": value})
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (status, content, str(len(content)))
