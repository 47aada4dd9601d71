"""Health checks for load balancers and monitoring."""

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
    """Redirect a browser to the documentation."""
    return RedirectResponse("/docs")


@router.head("/livez", include_in_schema=False, response_model_exclude_none=True)
@router.get("/livez", operation_id="get_liveness", response_model_exclude_none=True, responses=documented(403))
async def get_liveness() -> HealthView:  # async: it answers even if all threads are busy
    """The process answers."""
    return HealthView()


@router.head("/readyz", include_in_schema=False, response_model_exclude_none=True)
@router.get("/readyz", operation_id="get_readiness", response_model_exclude_none=True, responses=documented(403, 503))
def get_readiness(resources: Res) -> HealthView:
    """The service can accept and read jobs: the database answers.

    If the artifact store does not answer, the status is `degraded` and the answer still 200.
    Downloads fail and workers wait until the store is back; an error here would take every replica
    out of service at once.
    """
    resources.database.ping()
    try:
        resources.store.check()
    except StorageUnavailable as error:
        return HealthView(status="degraded", store=str(error))
    return HealthView()
