"""The processes that run tasks."""

from datetime import UTC, datetime

from fastapi import APIRouter

from app.api.dependencies import Res
from app.api.errors import documented
from app.db import workers
from app.domain.job import Task
from app.domain.worker import Worker
from app.schemas import RunningTaskView, WorkerPage, WorkerView

router = APIRouter(prefix="/v1/workers", tags=["workers"])


@router.head("", include_in_schema=False)
@router.get("", operation_id="list_workers", responses=documented(403, 503))
def list_workers(resources: Res) -> WorkerPage:
    """Every worker with a recent heartbeat, by name, with its running task."""
    with resources.database.reading() as session:
        found = workers.alive(session, resources.settings.heartbeat_seconds)
    return WorkerPage(items=tuple(map(_view, found)))


def _view(worker: Worker) -> WorkerView:
    return WorkerView(
        name=worker.name,
        queues=worker.about.queues,
        device=worker.about.device,
        memory_bytes=worker.about.memory_bytes,
        backbones=worker.about.backbones,
        task=_task_view(worker.task) if worker.task else None,
        started_at=datetime.fromtimestamp(worker.started_at, UTC),
        seen_at=datetime.fromtimestamp(worker.seen_at, UTC),
    )


def _task_view(task: Task) -> RunningTaskView:
    return RunningTaskView(id=task.id, job_id=task.job_id, kind=task.kind, ordinal=task.ordinal, attempt=task.attempt)
