"""NUL and lone surrogates in requests: refused, or not found, but no fault of the service."""

import json

import pytest
from fastapi.testclient import TestClient

from app.services.resources import Resources
from tests.unit.app.stored import submitted, succeeded

BODIES = [
    {"dataset_uri": "sklearn://digits\0"},
    {"classes": ["0", "1\0"]},
    {"classes": ["\ud800"]},
    {"class_map": {"0\0": "1"}},
    {"class_map": {"\udce9": "1"}},
    {"class_map": {"0": "1\0"}},
    {"class_map": {"0": "\ud800"}},
    {"sampling": {"prompt": "{class}\0"}},
    {"sampling": {"negative_prompt": "\ud800"}},
    {"guidance": {"tap": "a\0"}},
    {"backbone": "\0"},
    {"\ud800": 1},
    {"\0": "\0"},
]


@pytest.mark.parametrize("query", ["dataset_uri=%00", "backbone=a%00", "cursor=%00"])
def test_nul_in_a_query_is_refused_by_name(client: TestClient, query: str) -> None:
    answer = client.get(f"/v1/jobs?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"field": query.partition("=")[0], "message": r"must not contain the character \x00"},
    ]


@pytest.mark.parametrize("rest", ["", "/events", "/archive", "/metrics", "/preview.png"])
def test_nul_in_a_path_is_refused(client: TestClient, rest: str) -> None:
    assert client.get(f"/v1/jobs/%00{rest}").status_code == 422


@pytest.mark.parametrize("path", ["/v1/jobs/%ed%a0%80", "/v1/jobs/%ff", "/v1/jobs/x%00", "/v1/jobs?backbone=%ed%a0%80"])
def test_bytes_that_are_no_text_are_no_fault_of_the_service(client: TestClient, path: str) -> None:
    assert client.get(path).status_code in (200, 404, 422)
    assert client.delete(path).status_code in (404, 405, 422)


@pytest.mark.parametrize("fields", BODIES, ids=range(len(BODIES)))
def test_nul_and_lone_surrogates_in_a_body_are_refused(client: TestClient, fields: dict[str, object]) -> None:
    body = json.dumps({"dataset_uri": "sklearn://digits", "ipc": 1} | fields)
    answer = client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["errors"]


def test_an_empty_last_event_id_is_none(client: TestClient, resources: Resources) -> None:
    job_id = succeeded(resources.database)
    told = [client.get(f"/v1/jobs/{job_id}/events", headers=headers) for headers in ({}, {"Last-Event-ID": ""})]
    assert told[0].status_code == told[1].status_code == 200
    assert told[0].text == told[1].text != ""


def test_a_last_event_id_that_is_no_number_is_refused(client: TestClient, resources: Resources) -> None:
    job_id = submitted(resources.database)
    assert client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "x"}).status_code == 422
