"""The tasks of a job and their attempts, in pages: a job of 1,000 classes may have 1,000 tasks."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.dependencies import JobId, Res
from app.api.errors import documented
from app.api.job_views import attempt_view, task_view
from app.db import queries
from app.domain.job import Outcome, TaskKind, TaskState
from app.schemas import AttemptPage, TaskPage

KINDS = "|".join(TaskKind)
Limit = Annotated[int, Query(ge=1, le=500, description="At most this many.", examples=[100])]

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"])


@router.head("/tasks", include_in_schema=False)
@router.get("/tasks", operation_id="list_tasks", responses=documented(403, 404, 422, 503))
def list_tasks(
    job_id: JobId,
    resources: Res,
    state: Annotated[TaskState | None, Query(description="Only tasks in this state.", examples=["running"])] = None,
    limit: Limit = 100,
    cursor: Annotated[
        str | None,
        Query(pattern=rf"^({KINDS}):\d{{1,9}}$", description="`next_cursor` of the page before.", examples=["sample:99"]),
    ] = None,
) -> TaskPage:
    """The job's tasks in the order of the graph, page by page."""
    after = None
    if cursor is not None:
        kind, _, ordinal = cursor.partition(":")
        after = (TaskKind(kind), int(ordinal))
    with resources.database.reading() as session:
        queries.require(session, job_id)
        found = queries.tasks(session, job_id, limit=limit + 1, after=after, state=state)
    shown = found[:limit]
    more = f"{shown[-1].kind}:{shown[-1].ordinal}" if len(found) > limit else None
    return TaskPage(items=tuple(map(task_view, shown)), next_cursor=more)


@router.head("/attempts", include_in_schema=False)
@router.get("/attempts", operation_id="list_attempts", responses=documented(403, 404, 422, 503))
def list_attempts(
    job_id: JobId,
    resources: Res,
    outcome: Annotated[
        list[Outcome] | None, Query(description="Only tries that ended so; repeatable.", examples=[["failed", "expired"]])
    ] = None,
    limit: Limit = 100,
    cursor: Annotated[
        str | None,
        Query(
            pattern=r"^\d{1,12}(\.\d{1,9})?:[0-9A-Za-z]{1,64}:\d{1,9}$",
            description="`next_cursor` of the page before.",
            examples=["1767182400.25:01JD8W3V8S2Z4Q6M8N0P2R4T6V:1"],
        ),
    ] = None,
) -> AttemptPage:
    """Every attempt at the job's tasks, oldest first, page by page."""
    after = None
    if cursor is not None:
        started_at, task_id, number = cursor.split(":")
        after = (float(started_at), task_id, int(number))
    with resources.database.reading() as session:
        queries.require(session, job_id)
        found = queries.attempts(session, job_id, limit=limit + 1, after=after, outcomes=tuple(outcome or ()))
    shown = found[:limit]
    last = shown[-1].attempt if len(found) > limit else None
    more = f"{last.started_at!r}:{last.task_id}:{last.number}" if last else None
    return AttemptPage(items=tuple(map(attempt_view, shown)), next_cursor=more)
