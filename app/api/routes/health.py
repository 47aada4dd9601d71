"""For those who watch the service."""

from fastapi import APIRouter
from fastapi.responses import RedirectResponse

from app.api.dependencies import Res
from app.api.errors import documented
from app.domain.errors import StorageUnavailable
from app.schemas import HealthView

router = APIRouter(tags=["health"])


@router.head("/", include_in_schema=False)
@router.get("/", include_in_schema=False)
def get_root() -> RedirectResponse:
    """Where a browser wants to be."""
    return RedirectResponse("/docs")


@router.head("/livez", include_in_schema=False, response_model_exclude_none=True)
@router.get("/livez", operation_id="get_liveness", response_model_exclude_none=True, responses=documented(403))
async def get_liveness() -> HealthView:  # async: it answers while all threads are taken
    """The process answers."""
    return HealthView()


@router.head("/readyz", include_in_schema=False, response_model_exclude_none=True)
@router.get("/readyz", operation_id="get_readiness", response_model_exclude_none=True, responses=documented(403, 503))
def get_readiness(resources: Res) -> HealthView:
    """Jobs can be taken and read: the database answers.

    An artifact store that is away makes the answer `degraded`, no problem: downloads fail and workers wait until it is back,
    but every replica would be taken out of service at once, and submissions with it.
    """
    resources.database.ping()
    try:
        resources.store.check()
    except StorageUnavailable as error:
        return HealthView(status="degraded", store=str(error))
    return HealthView()
