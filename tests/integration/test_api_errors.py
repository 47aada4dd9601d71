import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastapi.testclient import TestClient

from app.services.resources import Resources
from app.settings import Settings

JSON = {"Content-Type": "application/json"}


def refused(client: TestClient, method: str, url: str, **options: Any) -> tuple[int, str]:
    """Status and type of the problem; every error must be a problem document."""
    answer = client.request(method, url, **options)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == answer.status_code
    assert problem["title"]
    return answer.status_code, problem["type"].removeprefix("urn:dapple:problem:")


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("GET", "/v1/jobs/nobody"),
        ("GET", "/v1/jobs/nobody/events"),
        ("POST", "/v1/jobs/nobody/cancel"),
        ("DELETE", "/v1/jobs/nobody"),
        ("GET", "/v1/jobs/nobody/archive"),
        ("GET", "/v1/jobs/nobody/metrics"),
        ("GET", "/v1/jobs/nobody/preview.png"),
    ],
)
def test_an_unknown_job_is_404(client: TestClient, method: str, url: str) -> None:
    assert refused(client, method, url) == (404, "job-not-found")


@pytest.mark.parametrize("url", ["/v1", "/v1/jobs/", "/v2/jobs", "/v1/jobs/../../etc/passwd"])
def test_an_unknown_url_is_404(client: TestClient, url: str) -> None:
    assert refused(client, "GET", url) == (404, "not-found")


@pytest.mark.parametrize(
    ("method", "url", "allowed"),
    [
        ("PUT", "/v1/jobs", "GET, HEAD, POST"),
        ("PATCH", "/v1/jobs/x", "GET, HEAD, DELETE"),
        ("POST", "/v1/jobs/x/archive", "GET, HEAD"),
        ("GET", "/v1/jobs/x/cancel", "POST"),
    ],
)
def test_an_unknown_method_is_405_with_those_there_are(client: TestClient, method: str, url: str, allowed: str) -> None:
    assert refused(client, method, url) == (405, "method-not-allowed")
    assert client.request(method, url).headers["allow"] == allowed


def test_a_body_that_breaks_off_is_no_fault_of_the_service(client: TestClient) -> None:
    """A server announces a client that hung up, or was cut off as too slow, in the middle of the body."""
    arriving: list[dict[str, Any]] = [
        {"type": "http.request", "body": b'{"dataset_uri": ', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return arriving.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/jobs", "query_string": b"", "headers": headers}
    anyio.run(client.app, scope, receive, send)
    assert sent[0]["status"] == 400
    assert json.loads(sent[1]["body"])["detail"] == "the body did not arrive"


@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b"[1]", b"null", b'{"\\ud800": 1}', b"[" * 50_000, b"9" * 5_000])
def test_a_malformed_body_is_the_clients_fault(client: TestClient, body: bytes) -> None:
    status, _ = refused(client, "POST", "/v1/jobs", content=body, headers=JSON)
    assert status in (400, 422)


def test_malformed_json_is_told_with_its_place(client: TestClient) -> None:
    assert refused(client, "POST", "/v1/jobs", content=b'{"ipc": }', headers=JSON) == (400, "malformed-json")
    assert "character 8" in client.post("/v1/jobs", content=b'{"ipc": }', headers=JSON).json()["detail"]


@pytest.mark.parametrize(
    "extra",
    [
        {f"x{number}": 1 for number in range(70_000)},
        {"guidance": {f"x{number}": 1 for number in range(70_000)}},
        {"evaluation": {"arms": [1] * 300_000}},
        {"class_map": {f"x{number}": -1 for number in range(9_000)}},
        {"classes": [1] * 9_000},
        {"x" * 900_000: 1},
    ],
)
def test_the_answer_to_many_faults_is_short(client: TestClient, extra: dict[str, Any]) -> None:
    answer = client.post("/v1/jobs", json={"dataset_uri": "sklearn://digits", "ipc": 1} | extra)
    assert answer.status_code == 422
    assert len(answer.content) < 5_000
    told = answer.json()
    if len(told["errors"]) == 20:
        assert told["errors_left_out"] == 8_980
        assert told["detail"].endswith("; and 8980 more faults")


def test_a_body_of_another_type_is_415(client: TestClient) -> None:
    assert refused(client, "POST", "/v1/jobs", content=b"{}", headers={"Content-Type": "text/plain"}) == (
        415,
        "unsupported-media-type",
    )


def test_a_body_too_large_is_413_however_it_is_sent(client: TestClient, settings: Settings) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(3):
            yield b" " * (settings.max_body_bytes // 2)

    assert refused(client, "POST", "/v1/jobs", content=b"".join(chunks()), headers=JSON) == (413, "body-too-large")
    assert refused(client, "POST", "/v1/jobs", content=chunks(), headers=JSON) == (413, "body-too-large")


def test_a_bad_parameter_names_itself(client: TestClient) -> None:
    assert refused(client, "GET", "/v1/jobs?limit=0&state=lost") == (422, "invalid-parameter")
    errors = client.get("/v1/jobs?limit=0&state=lost").json()["errors"]
    assert {error["field"] for error in errors} == {"limit", "state"}


def test_a_foreign_host_is_refused(client: TestClient) -> None:
    assert refused(client, "GET", "/livez", headers={"Host": "evil.example"}) == (403, "forbidden")


def test_a_missing_file_of_a_backbone_may_come_and_a_malformed_one_stays(client: TestClient, settings: Settings) -> None:
    config = settings.data_dir / "backbones" / "tiny" / "transformer" / "config.json"
    body = {"dataset_uri": "sklearn://digits", "ipc": 1, "backbone": "tiny"}
    config.unlink()
    assert refused(client, "POST", "/v1/jobs", json=body) == (503, "backbone-unavailable")
    config.write_text("{")
    assert refused(client, "POST", "/v1/jobs", json=body) == (422, "invalid-spec")


def test_a_bug_is_500_and_gives_nothing_away(client: TestClient, resources: Resources) -> None:
    with resources.database.transaction() as session:
        session.connection().exec_driver_sql("ALTER TABLE jobs RENAME COLUMN spec TO secret_column")
        session.connection().exec_driver_sql(
            "INSERT INTO jobs (id, secret_column, dataset_uri, backbone, state, version, created_at)"
            " VALUES ('J', '{}', 'x', 'x', 'lost', 1, 0)"
        )
        session.connection().exec_driver_sql("ALTER TABLE jobs RENAME COLUMN secret_column TO spec")
    assert refused(client, "GET", "/v1/jobs/J") == (500, "internal")
    assert "ValidationError" not in client.get("/v1/jobs/J").text


def test_a_process_is_ready_without_its_store_but_not_without_its_database(
    client: TestClient, resources: Resources, settings: Settings
) -> None:
    assert client.get("/readyz").json() == {"status": "ok"}
    (settings.artifacts_dir / ".unfinished").rmdir()
    settings.artifacts_dir.rmdir()
    Path(settings.artifacts_dir).touch()
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["store"].startswith(f"the artifact folder {settings.artifacts_dir} cannot be written")
    with resources.database.transaction() as session:
        session.connection().exec_driver_sql("ALTER TABLE jobs RENAME TO gone")
    assert refused(client, "GET", "/readyz") == (503, "database-unavailable")
    assert client.get("/livez").json() == {"status": "ok"}


def test_every_answer_has_the_headers_that_protect_browsers(client: TestClient, resources: Resources) -> None:
    with resources.database.transaction() as session:
        session.connection().exec_driver_sql(
            "INSERT INTO jobs (id, spec, dataset_uri, backbone, state, version, created_at)"
            " VALUES ('J', '{}', 'x', 'x', 'lost', 1, 0)"
        )
    urls = {"/docs": 200, "/livez": 200, "/v1/jobs": 500, "/v1/jobs/nobody": 404, "/nowhere": 404}
    for url, status in urls.items():
        answer = client.get(url)
        assert answer.status_code == status
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
        assert answer.headers.get_list("x-frame-options") == ["DENY"]
        assert answer.headers["content-security-policy"] == "frame-ancestors 'none'"


def test_a_lost_or_emptied_database_file_is_told_by_readiness(client: TestClient, settings: Settings, kind: str) -> None:
    if kind != "sqlite":
        return
    file = Path(settings.sqlalchemy_url.removeprefix("sqlite:///"))
    file.rename(file.with_suffix(".away"))
    assert refused(client, "GET", "/readyz") == (503, "database-unavailable")
    assert f"the database file {file} is gone" in client.get("/readyz").json()["detail"]
    assert refused(client, "POST", "/v1/jobs", json={"dataset_uri": "sklearn://digits", "ipc": 1}) == (
        503,
        "database-unavailable",
    )
    assert not file.exists()
    file.touch()
    assert "another file was put in the place of" in client.get("/readyz").json()["detail"]
    file.with_suffix(".away").rename(file)
    assert client.get("/readyz").status_code == 200
    os.truncate(file, 0)
    assert f"the database file {file} was emptied" in client.get("/readyz").json()["detail"]


@pytest.mark.parametrize("url", ["/docs", "/openapi.json", "/"])
def test_the_documentation_answers_head(client: TestClient, url: str) -> None:
    head, get = (client.request(method, url, follow_redirects=False) for method in ("HEAD", "GET"))
    assert (head.status_code, head.content) == (get.status_code, b"")


def test_the_documentation_is_served(client: TestClient) -> None:
    assert client.get("/openapi.json").json()["info"]["title"] == "Dapple"
    assert "/openapi.json" in client.get("/docs").text
    assert client.get("/", follow_redirects=False).headers["location"] == "/docs"
