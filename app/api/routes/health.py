"""For those who watch the service."""

from fastapi import APIRouter
from fastapi.responses import RedirectResponse

from app.api.dependencies import Res
from app.api.errors import documented
from app.api.schemas import HealthView

router = APIRouter(tags=["health"])


@router.get("/", include_in_schema=False)
def get_root() -> RedirectResponse:
    """Where a browser wants to be."""
    return RedirectResponse("/docs")


@router.head("/livez", include_in_schema=False)
@router.get("/livez", operation_id="get_liveness", responses=documented(403))
def get_liveness() -> HealthView:
    """The process answers."""
    return HealthView(status="ok")


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", operation_id="get_readiness", responses=documented(403, 503))
def get_readiness(resources: Res) -> HealthView:
    """Jobs can be taken: the database answers and the artifact store can be written."""
    resources.database.ping()
    resources.store.check()
    return HealthView(status="ok")
