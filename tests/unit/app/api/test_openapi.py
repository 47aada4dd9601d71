from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.api.errors import MEDIA_TYPE
from app.main import create_app
from app.settings import Settings

OPERATIONS = {
    "submit_job",
    "list_jobs",
    "get_job",
    "list_tasks",
    "list_attempts",
    "stream_job_events",
    "cancel_job",
    "delete_job",
    "download_archive",
    "get_metrics",
    "get_preview",
    "list_backbones",
    "list_workers",
    "get_liveness",
    "get_readiness",
    "get_service_metrics",
}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("data")
    return create_app(Settings(data_dir=folder, log_level="CRITICAL")).openapi()


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (operation for path in document["paths"].values() for operation in path.values())


def fields(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, schema in document["components"]["schemas"].items():
        for field, described in schema.get("properties", {}).items():
            yield f"{name}.{field}", described


def is_composite(described: dict[str, Any]) -> bool:
    """Whether the field is made of objects, whose own fields have the examples."""
    return "$ref" in str(described) and "examples" not in described


def test_operation_ids_are_stable_and_every_operation_is_tagged_and_described(document: dict[str, Any]) -> None:
    assert {operation["operationId"] for operation in operations(document)} == OPERATIONS
    assert all(operation["tags"] and operation["description"] for operation in operations(document))


def test_every_field_is_described_with_an_example(document: dict[str, Any]) -> None:
    assert [name for name, described in fields(document) if not described.get("description")] == []
    assert [name for name, described in fields(document) if not (described.get("examples") or is_composite(described))] == []


def test_every_parameter_is_described_with_an_example(document: dict[str, Any]) -> None:
    for operation in operations(document):
        for parameter in operation.get("parameters", ()):
            has_example = "examples" in parameter["schema"] or "examples" in parameter
            assert parameter.get("description"), parameter
            assert has_example or parameter["schema"].get("type") == "boolean", parameter


def test_problems_have_their_own_media_type(document: dict[str, Any]) -> None:
    for operation in operations(document):
        for status, response in operation["responses"].items():
            if status >= "400":
                assert list(response["content"]) == [MEDIA_TYPE], operation["operationId"]


def test_frameworks_own_error_schemas_are_not_advertised(document: dict[str, Any]) -> None:
    assert not {"HTTPValidationError", "ValidationError"} & set(document["components"]["schemas"])
