"""The outputs of a job: archive, preview and metrics."""

import base64
import os
from collections.abc import Generator
from contextlib import contextmanager
from email.utils import formatdate
from typing import IO, Annotated, Any, Literal, TypeVar

import structlog
from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import RedirectResponse

from app.api.byte_ranges import requested
from app.api.dependencies import JobId, Res
from app.api.errors import documented
from app.api.etags import check_match, is_known, quoted
from app.api.open_file import OpenFileResponse
from app.db import jobs
from app.domain.artifact import Artifact
from app.domain.errors import ArtifactDamaged, ArtifactNotReady, StorageUnavailable
from app.domain.job import Job
from app.services.resources import Resources

Output = TypeVar("Output")

log = structlog.get_logger()

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])

IfNoneMatch = Annotated[
    str | None, Header(description="An ETag of an earlier answer: 304 if the content is the same.", examples=['"9f86d081"'])
]
IfMatch = Annotated[str | None, Header(description="An ETag: 412 if the content has another.", examples=['"9f86d081"'])]
UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "You have this content already."}}
ELSEWHERE: dict[int | str, dict[str, Any]] = {
    302: {
        "description": "The object store has the content. `Location` is a URL that is valid for a limited time, needs no "
        "credentials and must be sent none, and serves `Range` itself; the store's own ETag is another one.",
        "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
    }
}


def _binary(media_type: str, description: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": description, "content": {media_type: {"schema": {"type": "string", "format": "binary"}}}}}


@router.head("/archive", include_in_schema=False)
@router.get(
    "/archive",
    operation_id="download_archive",
    response_class=Response,
    responses=_binary("application/zip", "The zip; `Repr-Digest` is the SHA-256 of all of it.")
    | {206: {"description": "The part asked for with `Range`."}}
    | ELSEWHERE
    | UNCHANGED
    | documented(400, 403, 404, 409, 412, 416, 422, 500, 503),
)
def download_archive(
    request: Request,
    job_id: JobId,
    resources: Res,
    range: Annotated[str | None, Header(description="Only these bytes.", examples=["bytes=1024-"])] = None,
    if_range: Annotated[
        str | None, Header(description="Use `Range` only if the ETag is still this one.", examples=['"9f86d081"'])
    ] = None,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The distilled dataset as a zip. Interrupted downloads resume with `Range` and `If-Range`."""
    job = _job(resources, job_id)
    archive = _produced(job, job.archive, "archive")
    headers = _headers(archive)
    known = _unchanged(headers, if_match, if_none_match)
    if known is not None:
        return known
    applies = request.method == "GET" and if_range in (None, headers["ETag"])
    part = requested(range, archive.size_bytes) if range is not None and applies else None
    return _content(request, resources, job_id, archive, headers, part, f"dapple-{job_id}.zip")


@router.head("/preview.png", include_in_schema=False)
@router.get(
    "/preview.png",
    operation_id="get_preview",
    response_class=Response,
    responses=_binary("image/png", "A grid of the images, one row for each class.")
    | ELSEWHERE
    | UNCHANGED
    | documented(403, 404, 409, 412, 422, 500, 503),
)
def get_preview(
    request: Request,
    job_id: JobId,
    resources: Res,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """A picture of the distilled dataset."""
    job = _job(resources, job_id)
    preview = _produced(job, job.preview, "preview")
    headers = _headers(preview)
    return _unchanged(headers, if_match, if_none_match) or _content(request, resources, job_id, preview, headers)


@router.head("/metrics", include_in_schema=False)
@router.get("/metrics", operation_id="get_metrics", responses=documented(403, 404, 409, 422, 503))
def get_metrics(job_id: JobId, resources: Res) -> dict[str, Any]:
    """The numbers of a finished job.

    `warnings`: what to know about the result. `evaluation`: the accuracies of every arm. `set`: the
    distances between the synthetic and the real images; its `mmd2` and `diversity` are null for one
    image per class, which has no pairs. `dataset`: its numbers of images, and its damaged files.
    `timings`: seconds of all tasks, by phase. `guidance` has five parts. `ratio_per_step`: the
    length of guidance over that of the scheduler's step. `references`: the total number of
    reference images, and the relative error of their projected distances. `estimator_error`: at a
    few timesteps, the difference between guidance by the references and by the whole class (empty
    if the references are the whole class). `median_distance`: per timestep and block, the median
    distance between real features, in the units of `kernel_bandwidth`. `without_gradient`: per
    step, the fraction of images without a gradient.
    """
    job = _job(resources, job_id)
    return dict(_produced(job, job.metrics, "metrics"))


def _job(resources: Resources, job_id: str) -> Job:
    with resources.database.reading() as session:
        return jobs.get(session, job_id)


def _produced(job: Job, output: Output | None, name: str) -> Output:
    if output is None:
        raise ArtifactNotReady(f"the job is {job.state}; it has no {name}" + ("" if job.state.terminal else " yet"))
    return output


def _headers(artifact: Artifact) -> dict[str, str]:
    return {
        "ETag": quoted(artifact.sha256),
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(artifact.sha256)).decode()}:",
        "Cache-Control": "private, no-cache",
    }


def _unchanged(headers: dict[str, str], if_match: str | None, if_none_match: str | None) -> Response | None:
    """304 if the client has this content, else None. Raises HTTPException 412 by If-Match."""
    check_match(if_match, headers["ETag"])
    return Response(status_code=304, headers=headers) if is_known(if_none_match, headers["ETag"]) else None


def _content(
    request: Request,
    resources: Resources,
    job_id: str,
    artifact: Artifact,
    headers: dict[str, str],
    part: range | None = None,
    filename: str | None = None,
) -> Response:
    """The bytes, or a redirect to their URL, after a check of their size.

    Opens a file at once, so that it stays complete if the job is deleted during the download.
    """
    url = resources.store.url(artifact.key, resources.settings.presigned_seconds, _read_method(request))
    if url is not None:
        with _damage_told(resources, job_id, artifact.key):
            _check_size(artifact, resources.store.size_bytes(artifact.key))
        return RedirectResponse(url, status_code=302, headers=headers | {"Cache-Control": "no-store"})
    with _damage_told(resources, job_id, artifact.key):
        file = _whole_file(resources, artifact)
    if filename is not None:
        headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    headers["Last-Modified"] = formatdate(os.fstat(file.fileno()).st_mtime, usegmt=True)
    return OpenFileResponse(file, artifact.size_bytes, part, media_type=artifact.media_type, headers=headers)


@contextmanager
def _damage_told(resources: Resources, job_id: str, key: str) -> Generator[None]:
    """Raises ArtifactDamaged if a published output is missing or is no file of its size.

    Raises JobNotFound if its job was deleted meanwhile.
    """
    try:
        yield
    except (ArtifactNotReady, ArtifactDamaged) as error:
        _job(resources, job_id)
        log.error("artifact.damaged", job_id=job_id, key=key, reason=str(error))  # noqa: TRY400 - no bug of ours
        raise ArtifactDamaged(f"{error}; delete the job and submit its spec again: equal specs give equal bytes") from error


def _whole_file(resources: Resources, artifact: Artifact) -> IO[bytes]:
    file = resources.store.file(artifact.key)
    if file is None:
        raise StorageUnavailable(f"the store has neither a file nor a URL for {artifact.key}")
    try:
        _check_size(artifact, os.fstat(file.fileno()).st_size)
    except ArtifactDamaged:
        file.close()
        raise
    return file


def _check_size(artifact: Artifact, size_bytes: int) -> None:
    if size_bytes != artifact.size_bytes:
        raise ArtifactDamaged(f"{artifact.key} has {size_bytes} bytes instead of {artifact.size_bytes}")


def _read_method(request: Request) -> Literal["GET", "HEAD"]:
    """The method of the request: a presigned URL is valid for one method only."""
    return "HEAD" if request.method == "HEAD" else "GET"
