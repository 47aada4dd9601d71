from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings

TOKEN = "a-token-that-is-long-enough"  # noqa: S105 - of this test alone


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    settings = Settings(data_dir=tmp_path, log_level="CRITICAL", access_token=TOKEN)  # pyright: ignore[reportArgumentType] - text becomes a secret
    return TestClient(create_app(settings), base_url="http://127.0.0.1")


@pytest.mark.parametrize("path", ["/", "/livez", "/docs", "/openapi.json", "/static-offline-docs/swagger-ui.css"])
@pytest.mark.slow
def test_the_documentation_and_the_sign_of_life_need_no_token(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/v1/jobs", "/v1/backbones", "/v1/workers", "/readyz", "/metrics", "/nothing", "/livez/", "/docs/../v1/jobs"],
)
@pytest.mark.parametrize("header", [None, "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xe9"])
@pytest.mark.slow
def test_everything_else_needs_the_token(client: TestClient, path: str, header: str | None) -> None:
    headers = {} if header is None else {b"Authorization": header.encode("latin-1")}
    answer = client.get(path, headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["type"] == "urn:dapple:problem:unauthorized"
    assert TOKEN not in answer.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_the_token_opens_the_service(client: TestClient, scheme: str) -> None:
    with client:
        assert client.get("/v1/jobs", headers={"Authorization": f"{scheme} {TOKEN}"}).status_code == 200


def test_the_document_says_how_to_send_the_token(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["accessToken"]["scheme"] == "bearer"
    assert document["paths"]["/v1/jobs"]["post"]["responses"]["401"]["description"] == "The service asks for its access token."
