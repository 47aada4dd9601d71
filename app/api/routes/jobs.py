"""Submit, list, read, cancel and delete jobs."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from pydantic import AfterValidator

from app.api.dependencies import JobId, Res, Text, Traceparent
from app.api.errors import documented
from app.api.etags import check_match, is_known, quoted
from app.api.job_views import job_detail, job_summaries, job_view, location
from app.api.json_body import JsonRoute
from app.db import jobs
from app.db.jobs import Filters
from app.domain.dataset_uri import canonical
from app.domain.job import Job, JobState
from app.domain.plan import first_task
from app.domain.progress import untouched
from app.domain.spec.job_spec import DistillationSpec
from app.schemas import JobDetail, JobPage, JobView, ValidationView
from app.services import validation
from app.services.jobs import cancel, delete, submit
from app.services.resources import Resources

POLL_AFTER_SECONDS = "1"
JSON = "application/json"

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=JsonRoute)


@router.post(
    "",
    operation_id="submit_job",
    status_code=202,
    response_model=JobView | ValidationView,
    response_description="Accepted; `Location` is where to watch it.",
    responses={200: {"model": ValidationView, "description": "The job was validated; nothing was stored."}}
    | documented(400, 403, 413, 415, 422, 503),
)
def submit_job(
    spec: DistillationSpec,
    resources: Res,
    traceparent: Traceparent,
    validate_only: Annotated[bool, Query(description="Check the job and fill in defaults, but store nothing.")] = False,
    idempotency_key: Annotated[
        Text | None,
        Header(
            min_length=1,
            max_length=255,
            description="Any text unique to this submission: sent again with the same body, it returns the same job.",
            examples=["0f8fad5b-d9cb-469f-a165-70867728950e"],
        ),
    ] = None,
) -> Response:
    """Submit a job that distils a dataset.

    The answer comes before any work is done. The job then runs in the background.
    """
    if validate_only:
        validation.check(spec, resources.settings)
        return Response(ValidationView(spec=spec).model_dump_json(), media_type=JSON)
    job = submit(resources, spec, idempotency_key, traceparent=traceparent)
    headers = {"Location": location(job.id), "Retry-After": POLL_AFTER_SECONDS}
    # Serialised here: FastAPI would validate the view again, which costs more than the rest.
    return Response(_view(resources, job).model_dump_json(), 202, headers, JSON)


@router.head("", include_in_schema=False)
@router.get("", operation_id="list_jobs", responses=documented(403, 422, 503))
def list_jobs(
    resources: Res,
    state: Annotated[JobState | None, Query(description="Only jobs in this state.", examples=["succeeded"])] = None,
    dataset_uri: Annotated[
        Annotated[Text, AfterValidator(canonical)] | None,
        Query(description="Only jobs of exactly this dataset URI.", examples=["sklearn://digits"]),
    ] = None,
    backbone: Annotated[Text | None, Query(description="Only jobs of this backbone.", examples=["embedded/digits"])] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="At most this many jobs.", examples=[20])] = 20,
    cursor: Annotated[
        Text | None,
        Query(max_length=64, description="`next_cursor` of the page before.", examples=["01JD8W3V7QY1W7T9Z0H4K2M5N6"]),
    ] = None,
) -> JobPage:
    """Jobs, newest first, page by page. New jobs do not shift the pages.

    The list leaves out large fields; `links.self` has the whole spec.
    """
    with resources.database.reading() as session:
        filters = Filters(state=state, dataset_uri=dataset_uri, backbone=backbone)
        found, next_cursor = jobs.page(session, filters, limit=limit, cursor=cursor)
        return JobPage(items=tuple(job_summaries(session, found)), next_cursor=next_cursor)


@router.head("/{job_id}", include_in_schema=False)
@router.get(
    "/{job_id}",
    operation_id="get_job",
    response_model=JobDetail,
    responses={304: {"description": "Unchanged since the ETag in `If-None-Match`."}} | documented(403, 404, 412, 422, 503),
)
def get_job(
    job_id: JobId,
    resources: Res,
    if_none_match: Annotated[
        str | None, Header(description="An ETag of an earlier answer: 304 if nothing has changed.", examples=['"5d41402a"'])
    ] = None,
    if_match: Annotated[str | None, Header(description="An ETag: 412 if the job has another.", examples=['"5d41402a"'])] = None,
) -> Response:
    """One job. Its tasks and attempts have pages of their own. Its ETag changes with its progress.

    To follow a job, read its event stream instead of polling here.
    """
    with resources.database.reading() as session:
        body = job_detail(session, job_id).model_dump_json().encode()
    tag = quoted(hashlib.sha256(body).hexdigest())
    headers = {"ETag": f"W/{tag}", "Cache-Control": "no-cache"}  # weak: equal for compressed and plain content
    check_match(if_match, headers["ETag"])
    if is_known(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=JSON)


@router.post("/{job_id}/cancel", operation_id="cancel_job", responses=documented(403, 404, 409, 422, 503))
def cancel_job(job_id: JobId, resources: Res) -> JobView:
    """Stop a job: at once if none of its tasks runs, else within one sampling step. The
    service waits for a step about a minute at most. Until then its state is `cancelling`.

    A repeated request changes nothing. A job that has ended in another state answers 409.
    """
    return _view(resources, cancel(resources, job_id))


@router.delete("/{job_id}", operation_id="delete_job", status_code=204, responses=documented(403, 404, 409, 422, 503))
def delete_job(job_id: JobId, resources: Res) -> None:
    """Delete a job that has ended, with all its outputs."""
    delete(resources, job_id)


def _view(resources: Resources, job: Job) -> JobView:
    if job.state is JobState.QUEUED:  # no task has begun: its progress needs no query
        return job_view(job, [untouched(first_task())])
    with resources.database.reading() as session:
        return job_view(job, jobs.progress(session, [job.id])[job.id])
