"""The metrics for Prometheus."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from app.api.errors import documented
from app.api.metrics import Metrics

router = APIRouter(tags=["health"])


def _metrics(request: Request) -> Metrics:
    return request.app.state.metrics


@router.get(
    "/metrics",
    operation_id="get_service_metrics",
    response_class=Response,
    responses={200: {"description": "Prometheus's text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}}
    | documented(403),
)
def get_service_metrics(metrics: Annotated[Metrics, Depends(_metrics)]) -> Response:
    """Metrics of this process's requests, and of the jobs, tasks and workers in the database."""
    return Response(metrics.exposed(), media_type=CONTENT_TYPE_LATEST)
