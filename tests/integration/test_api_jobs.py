from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.db import leases
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
    assert detail == job | {"attempts": {"total": 0, "failed": 0}}
    assert [(task["kind"], task["state"]) for task in client.get(job["links"]["tasks"]).json()["items"]] == [
        ("prepare", "ready")
    ]


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
        leases.renew(session, lease, 60, Progress(1, 2))
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
        leases.renew(session, lease, 60, Progress(25, 50))
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert [phase["phase"] for phase in job["progress"]["phases"]] == ["preparing", "sampling", "evaluating", "packaging"]
    assert job["progress"]["phases"][1] == {"phase": "sampling", "tasks_done": 0, "tasks_total": 2, "done": 25, "total": 100}
    assert 0.02 < job["progress"]["fraction"] < 0.5
    assert job["attempts"] == {"total": 2, "failed": 0}
    attempts = client.get(job["links"]["attempts"]).json()["items"]
    assert [attempt["outcome"] for attempt in attempts] == ["succeeded", None]


def test_a_failed_job_says_why(client: TestClient, resources: Resources) -> None:
    job = submit(client)
    lease = claimed(resources.database)
    with resources.database.transaction() as session:
        leases.fail(session, lease, Failure(FailureKind.INVALID_INPUT, "no images"), backoff_seconds=None)
    told = client.get(job["links"]["self"]).json()
    assert told["state"] == "failed"
    assert told["attempts"] == {"total": 1, "failed": 1}
    (attempt,) = client.get(told["links"]["attempts"], params={"outcome": ["failed", "expired"]}).json()["items"]
    assert told["failure"] == attempt["failure"] == {"kind": "invalid_input", "message": "no images"}


def everything(client: TestClient, url: str, **query: Any) -> list[dict[str, Any]]:
    """The items of all pages, two at a time."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get(url, params={"limit": 2, **query, **cursor}).json()
        assert len(page["items"]) <= 2
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


def test_tasks_are_paged_in_the_order_of_the_graph(client: TestClient, resources: Resources) -> None:
    job_id = prepared(resources.database, samples=11, evaluations=2)
    tasks_of = [(task["kind"], task["ordinal"]) for task in everything(client, f"/v1/jobs/{job_id}/tasks")]
    samples = [("sample", ordinal) for ordinal in range(11)]
    assert tasks_of == [("prepare", 0), *samples, ("evaluate", 0), ("evaluate", 1), ("package", 0)]
    assert everything(client, f"/v1/jobs/{job_id}/tasks", state="succeeded")[0]["kind"] == "prepare"
    assert [task["input"] for task in everything(client, f"/v1/jobs/{job_id}/tasks", state="ready")][:2] == [
        {"group": 0},
        {"group": 1},
    ]


def test_attempts_are_paged_oldest_first_and_filtered_by_their_outcome(client: TestClient, resources: Resources) -> None:
    job_id = prepared(resources.database, samples=4)
    for _ in range(2):
        with resources.database.transaction() as session:
            leases.fail(session, claimed(resources.database), Failure(FailureKind.DEPENDENCY, "away"), backoff_seconds=0)
    found = everything(client, f"/v1/jobs/{job_id}/attempts")
    assert [attempt["kind"] for attempt in found] == ["prepare", "sample", "sample"]
    assert [attempt["started_at"] for attempt in found] == sorted(attempt["started_at"] for attempt in found)
    assert everything(client, f"/v1/jobs/{job_id}/attempts", outcome=["failed", "expired"]) == found[1:]


@pytest.mark.parametrize("part", ["tasks", "attempts"])
def test_pages_of_no_job_and_cursors_of_no_page_are_refused(client: TestClient, part: str) -> None:
    assert client.get(f"/v1/jobs/none/{part}").status_code == 404
    job = submit(client)
    for cursor in ("x", "sample:", "sample:-1", "1e400:T:1", "1:T", "\x00", "9" * 400):
        assert client.get(job["links"][part], params={"cursor": cursor}).status_code == 422


def test_a_list_leaves_out_what_may_be_large(client: TestClient) -> None:
    names = [str(digit) for digit in range(10)]
    submit(client, classes=names, class_map={name: int(name) for name in names}, priority=3)
    (listed,) = client.get("/v1/jobs").json()["items"]
    assert (listed["dataset_uri"], listed["backbone"], listed["ipc"], listed["priority"]) == ("sklearn://digits", "tiny", 10, 3)
    assert "class_map" not in str(listed)
    assert client.get(listed["links"]["self"]).json()["spec"]["class_map"] == {name: int(name) for name in names}


def test_what_is_large_is_compressed_for_those_who_can_read_it(client: TestClient, resources: Resources) -> None:
    url = f"/v1/jobs/{prepared(resources.database, samples=40)}/tasks"
    packed, plain = (client.get(url, headers={"Accept-Encoding": encoding}) for encoding in ("gzip", "identity"))
    assert packed.json() == plain.json()
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 4


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
