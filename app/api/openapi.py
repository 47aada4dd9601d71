"""The OpenAPI document."""

from typing import Any

from fastapi import FastAPI

from app.api.errors import MEDIA_TYPE

TAGS = [
    {"name": "jobs", "description": "Ask for a distilled dataset, watch and stop the work."},
    {"name": "results", "description": "What a job that has succeeded leaves: the archive, a picture, numbers."},
    {"name": "backbones", "description": "Diffusion models that jobs may use."},
    {"name": "workers", "description": "Processes that run tasks."},
    {"name": "health", "description": "For monitoring the service."},
]
PROBLEM = {"$ref": "#/components/schemas/Problem"}


def describe(app: FastAPI) -> None:
    """Serve FastAPI's document, with the media type of problems and the access token."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            _retype_problems(document)
            _offer_token(document)
        return generate()

    app.openapi = openapi


def _offer_token(document: dict[str, Any]) -> None:
    """Declare the access token as optional, so that /docs has a field for it."""
    scheme = {
        "type": "http",
        "scheme": "bearer",
        "description": "The token of a service that `dapple up` started; `dapple token` prints it.",
    }
    document["components"]["securitySchemes"] = {"accessToken": scheme}
    document["security"] = [{}, {"accessToken": []}]
    answer = {"description": "The service asks for its access token.", "content": {MEDIA_TYPE: {"schema": PROBLEM}}}
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].setdefault("401", answer)


def _retype_problems(document: dict[str, Any]) -> None:
    for path in document["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                content = response.get("content", {})
                if content.get("application/json", {}).get("schema") == PROBLEM:
                    content[MEDIA_TYPE] = content.pop("application/json")
