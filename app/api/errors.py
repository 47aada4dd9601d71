"""The table from errors to HTTP. Every error is answered as application/problem+json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.api.field_errors import fault_texts, field_errors, shortened
from app.api.json_body import MalformedJson
from app.api.safe_headers import SAFE_HEADERS
from app.domain import errors
from app.schemas import FieldError, Problem

MEDIA_TYPE = "application/problem+json"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

log = structlog.get_logger()


@dataclass(frozen=True)
class Rule:
    """The HTTP form of an error class. `slug` is the end of the problem's stable `type`."""

    status: int
    slug: str
    title: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


SOON = {"Retry-After": "5"}

INVALID_SPEC = Rule(422, "invalid-spec", "The job cannot run as requested")
INVALID_PARAMETER = Rule(422, "invalid-parameter", "A parameter of the request is not valid")
MALFORMED_JSON = Rule(400, "malformed-json", "The body is not JSON")
INTERNAL = Rule(500, "internal", "The service failed; the fault is in its log")

RULES: Mapping[type[Exception], Rule] = {
    errors.InvalidSpec: INVALID_SPEC,
    MalformedJson: MALFORMED_JSON,
    errors.DatasetRejected: Rule(422, "dataset-rejected", "The dataset cannot be used"),
    errors.BackboneUnavailable: Rule(503, "backbone-unavailable", "A file of the backbone is missing"),
    errors.BackboneRejected: Rule(422, "backbone-rejected", "The backbone cannot be used"),
    errors.JobNotFound: Rule(404, "job-not-found", "There is no such job"),
    errors.ArtifactNotReady: Rule(409, "artifact-not-ready", "The job has no such output"),
    errors.ArtifactDamaged: Rule(500, "artifact-damaged", "The stored output is damaged or missing"),
    errors.IllegalTransition: Rule(409, "illegal-transition", "The job's state does not allow this"),
    errors.IdempotencyKeyReused: Rule(422, "idempotency-key-reused", "The Idempotency-Key was used for another request"),
    errors.TransientError: Rule(503, "temporarily-unavailable", "The service cannot do this right now", SOON),
    errors.StorageUnavailable: Rule(503, "storage-unavailable", "The artifact store does not answer", SOON),
    errors.DatabaseUnavailable: Rule(503, "database-unavailable", "The database does not answer", SOON),
}

STATUS_RULES: Mapping[int, Rule] = {
    rule.status: rule
    for rule in (
        Rule(400, "malformed-request", "The request cannot be read"),
        Rule(401, "unauthorized", "The service asks for its access token"),
        Rule(403, "forbidden", "Requests from this host or origin are refused"),
        Rule(404, "not-found", "There is nothing at this URL"),
        Rule(405, "method-not-allowed", "This URL does not know the method"),
        Rule(408, "request-too-slow", "The request took too long to arrive"),
        Rule(412, "precondition-failed", "The content differs from what If-Match names"),
        Rule(413, "body-too-large", "The body is too large"),
        Rule(415, "unsupported-media-type", "The body must be application/json"),
        Rule(416, "range-not-satisfiable", "The range lies outside the content"),
        Rule(503, "overloaded", "There are too many requests at once", SOON),
    )
}


def install(app: FastAPI) -> None:
    """Answer every error of the application with a problem document."""
    app.add_exception_handler(errors.DappleError, _on_dapple_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_bug)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these problems."""
    known = [*RULES.values(), *STATUS_RULES.values(), INVALID_PARAMETER, INTERNAL]
    titles = {
        status: "; or: ".join(dict.fromkeys(rule.title for rule in known if rule.status == status)) for status in statuses
    }
    return {status: {"model": Problem, "description": f"{title}."} for status, title in titles.items()}


def problem(
    rule: Rule,
    path: str,
    detail: str | None = None,
    *,
    faults: Sequence[FieldError] = (),
    left_out: int = 0,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer for an error at `path`. `left_out` is the number of faults not in `faults`."""
    body = Problem(
        type=f"urn:dapple:problem:{rule.slug}",
        title=rule.title,
        status=rule.status,
        detail=detail,
        instance=shortened(path),
        errors=tuple(faults),
        errors_left_out=left_out or None,
    )
    content = body.model_dump_json(exclude_none=True)
    return Response(content, rule.status, {**SAFE_HEADERS, **rule.headers, **(headers or {})}, MEDIA_TYPE)


def _on_dapple_error(request: Request, error: Exception) -> Response:
    rule = next((RULES[kind] for kind in type(error).__mro__ if kind in RULES), None)
    if rule is None:
        return _on_bug(request, error)
    if isinstance(error, errors.InvalidSpec):
        return _faulty(rule, request, *fault_texts(error.problems))
    if isinstance(error, errors.DatabaseUnavailable):  # its reason is for operators only
        log.warning("request.unavailable", method=request.method, path=request.url.path, reason=error.reason)
    return problem(rule, request.url.path, str(error))


def _on_invalid_request(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise TypeError(type(error)) from error
    found = error.errors()
    rule = INVALID_SPEC if found[0]["loc"][0] == "body" else INVALID_PARAMETER
    return _faulty(rule, request, *field_errors(found))


def _faulty(rule: Rule, request: Request, faults: Sequence[FieldError], left_out: int) -> Response:
    """The answer that lists these faults."""
    each = [f"{fault.field}: {fault.message}" for fault in faults] + [f"and {left_out} more faults"] * bool(left_out)
    return problem(rule, request.url.path, "; ".join(each), faults=faults, left_out=left_out)


def _on_http_exception(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise TypeError(type(error)) from error
    rule = STATUS_RULES.get(error.status_code, Rule(error.status_code, "http-error", "The request cannot be answered"))
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods_here(request))
    return problem(rule, request.url.path, error.detail, headers=headers)


def _methods_here(request: Request) -> list[str]:
    """All methods of the URL. Starlette itself names only those of the first matching route."""
    app: FastAPI = request.app
    plain = {key: value for key, value in request.scope.items() if key in ("type", "path", "root_path", "headers")}
    return [
        method
        for method in METHODS
        if any(route.matches({**plain, "method": method})[0] is Match.FULL for route in app.router.routes)
    ]


def _on_bug(request: Request, error: Exception) -> Response:
    log.error("request.failed", method=request.method, path=request.url.path, exc_info=error)
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    return problem(INTERNAL, request.url.path, headers={"X-Request-ID": request_id} if request_id else None)
