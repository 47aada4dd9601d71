from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.db import tasks
from app.domain.job import Failure, FailureKind, Progress
from app.services.resources import Resources
from tests.unit.app.stored import claimed, prepared, succeeded

BODY = {"dataset_uri": "sklearn://digits", "ipc": 10, "kernel_bandwidth": "median", "backbone": "tiny"}


def submit(client: TestClient, **changes: Any) -> dict[str, Any]:
    answer = client.post("/v1/jobs", json=BODY | changes)
    assert answer.status_code == 202, answer.text
    return answer.json()


def test_a_job_is_accepted_and_can_be_watched(client: TestClient) -> None:
    answer = client.post("/v1/jobs", json=BODY)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert "retry-after" in answer.headers
    assert (job["state"], job["phase"], job["archive"]) == ("queued", None, None)
    assert job["created_at"].endswith("Z")
    detail = client.get(answer.headers["location"]).json()
    assert [(task["kind"], task["state"]) for task in detail["tasks"]] == [("prepare", "ready")]


def test_every_default_is_filled_in(client: TestClient) -> None:
    spec = submit(client)["spec"]
    assert (spec["kernel"], spec["guidance"]["objective"], spec["sampling"]["steps"]) == ("rbf", "mmd", 50)


def test_validating_stores_nothing(client: TestClient) -> None:
    answer = client.post("/v1/jobs?validate_only=true", json=BODY)
    assert (answer.status_code, answer.json()["valid"]) == (200, True)
    assert answer.json()["spec"]["seed"] == 0
    assert client.post("/v1/jobs?validate_only=true", json=BODY | {"backbone": "none"}).status_code == 422
    assert client.get("/v1/jobs").json()["items"] == []


def test_the_same_idempotency_key_makes_one_job(client: TestClient) -> None:
    first, second = (client.post("/v1/jobs", json=BODY, headers={"Idempotency-Key": "k"}) for _ in range(2))
    other = client.post("/v1/jobs", json=BODY | {"ipc": 1}, headers={"Idempotency-Key": "k"})
    assert first.json()["id"] == second.json()["id"]
    assert (other.status_code, other.json()["type"]) == (422, "urn:dapple:problem:idempotency-key-reused")


def test_jobs_are_listed_page_by_page_newest_first(client: TestClient) -> None:
    ids = [submit(client)["id"] for _ in range(3)]
    page = client.get("/v1/jobs", params={"limit": 2}).json()
    rest = client.get("/v1/jobs", params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert [job["id"] for job in page["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] is None


def test_jobs_are_filtered(client: TestClient) -> None:
    job = submit(client)
    assert len(client.get("/v1/jobs", params={"state": "queued", "backbone": "tiny"}).json()["items"]) == 1
    assert client.get("/v1/jobs", params={"state": "running"}).json()["items"] == []
    assert client.get("/v1/jobs", params={"dataset_uri": job["spec"]["dataset_uri"]}).json()["items"] != []


def test_an_etag_changes_with_state_and_progress_only(client: TestClient, resources: Resources) -> None:
    url = submit(client)["links"]["self"]
    tags = [client.get(url).headers["etag"] for _ in range(2)]
    lease = claimed(resources.database)
    tags.append(client.get(url).headers["etag"])
    with resources.database.transaction() as session:
        tasks.renew(session, lease, 60, Progress(1, 2))
    tags.append(client.get(url).headers["etag"])
    assert tags[0] == tags[1]
    assert len(set(tags)) == 3
    unchanged = client.get(url, headers={"If-None-Match": tags[-1]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert client.get(url, headers={"If-None-Match": tags[0]}).status_code == 200


def test_progress_counts_tasks_and_units(client: TestClient, resources: Resources) -> None:
    job_id = prepared(resources.database, samples=2, evaluations=1)
    lease = claimed(resources.database)
    with resources.database.transaction() as session:
        tasks.renew(session, lease, 60, Progress(25, 50))
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert [phase["phase"] for phase in job["progress"]["phases"]] == ["preparing", "sampling", "evaluating", "packaging"]
    assert job["progress"]["phases"][1] == {"phase": "sampling", "tasks_done": 0, "tasks_total": 2, "done": 25, "total": 100}
    assert 0.02 < job["progress"]["fraction"] < 0.5
    assert [attempt["outcome"] for attempt in job["attempts"]] == ["succeeded", None]


def test_a_failed_job_says_why(client: TestClient, resources: Resources) -> None:
    job = submit(client)
    lease = claimed(resources.database)
    with resources.database.transaction() as session:
        tasks.fail(session, lease, Failure(FailureKind.INVALID_INPUT, "no images"), backoff_seconds=None)
    told = client.get(job["links"]["self"]).json()
    assert told["state"] == "failed"
    assert told["failure"] == told["attempts"][0]["failure"] == {"kind": "invalid_input", "message": "no images"}


def test_cancelling_is_idempotent(client: TestClient, resources: Resources) -> None:
    queued, running = submit(client), prepared(resources.database)
    for _ in range(2):
        assert client.post(queued["links"]["cancel"]).json()["state"] == "cancelled"
    claimed(resources.database)
    for _ in range(2):
        assert client.post(f"/v1/jobs/{running}/cancel").json()["state"] == "cancelling"


def test_what_has_ended_cannot_be_cancelled_but_deleted(client: TestClient, resources: Resources) -> None:
    job_id = succeeded(resources.database)
    refused = client.post(f"/v1/jobs/{job_id}/cancel")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:dapple:problem:illegal-transition")
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404


def test_what_has_not_ended_cannot_be_deleted(client: TestClient) -> None:
    job = submit(client)
    assert client.delete(job["links"]["self"]).status_code == 409
    assert client.get(job["links"]["self"]).status_code == 200


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"classes": ["10"]}, "classes"),
        ({"dataset_uri": "file:///etc"}, "dataset_uri"),
        ({"dataset_uri": "sklearn://iris"}, "dataset_uri"),
        ({"ipc": 1000}, "ipc"),
        ({"kernel_bandwidth": 0}, "kernel_bandwidth"),
        ({"kernel": "linear", "kernel_bandwidth": 2}, "kernel_bandwidth"),
        ({"backbone": "none"}, "backbone"),
        ({"guidance": {"tap": 7}}, "guidance.tap"),
        ({"guidance": {"tap": "mid_block"}}, "guidance.tap"),
        ({"guidance": {"tap": [1, 1.0]}}, "guidance.tap"),
        ({"guidance": {"temperature": 7}}, "guidance.temperature"),
        ({"class_map": {"0": 10}}, "class_map.0"),
        ({"class_map": {"zero": 0}}, "class_map.zero"),
        ({"class_map": {"0": None}}, "class_map.0"),
        ({"sampling": {"scheduler": "flow-euler"}}, "sampling.scheduler"),
        ({"sampling": {"variance": "learned"}}, "sampling.variance"),
        ({"sampling": {"prompt": "a {class}"}}, "sampling.prompt"),
    ],
)
def test_a_job_that_cannot_run_is_refused_naming_the_field(client: TestClient, changes: dict[str, Any], field: str) -> None:
    answer = client.post("/v1/jobs", json=BODY | changes)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert {error["field"] for error in answer.json()["errors"]} == {field}
    assert answer.json()["type"] == "urn:dapple:problem:invalid-spec"
    assert client.get("/v1/jobs").json()["items"] == []


def test_a_service_that_starts_again_knows_its_jobs(client: TestClient) -> None:
    job = submit(client)
    with TestClient(client.app) as again:
        assert again.get(job["links"]["self"]).json()["id"] == job["id"]
