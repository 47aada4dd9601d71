"""Composition root of the HTTP service."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from threading import Event

from fastapi import FastAPI
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline

from app.api import errors
from app.api.event_broadcaster import EventBroadcaster
from app.api.metrics import Metrics
from app.api.middleware.access import Access
from app.api.middleware.request_filter import RequestFilter
from app.api.middleware.request_telemetry import RequestTelemetry
from app.api.openapi import TAGS, describe
from app.api.routes import artifacts, backbones, events, health, job_parts, jobs, metrics, workers
from app.api.shutdown import noticing_signals
from app.db.session import Database
from app.distribution import DISTRIBUTION
from app.domain.errors import PermanentError
from app.log import configure
from app.services.resources import Resources
from app.settings import Settings, settings_from
from app.startup_errors import ending_in_words
from app.storage.factory import store_for
from app.tracing import tracing_of
from app.wakeup.factory import queue_for


@ending_in_words()
def create_app(settings: Settings | None = None) -> FastAPI:
    """The application. Reads the settings from the environment unless given."""
    settings = settings or settings_from()
    configure(settings.log_level)
    app = FastAPIOffline(  # its /docs loads nothing from other sites
        redoc_url=None,
        title="Dapple",
        version=version(DISTRIBUTION),
        description="Distil a labelled image dataset into a few synthetic images per class that train almost as well.",
        openapi_tags=TAGS,
        lifespan=_lifespan,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    _answer_head(app)
    app.state.closing = Event()
    app.state.resources = Resources(settings, Database(settings.sqlalchemy_url), store_for(settings), queue_for(settings))
    app.state.hub = EventBroadcaster(app.state.resources.database, app.state.closing)
    app.state.metrics = Metrics(app.state.resources.database, settings.heartbeat_seconds)
    app.state.tracing = tracing_of("dapple-api")
    for routes in (jobs, job_parts, events, artifacts, backbones, workers, health, metrics):
        app.include_router(routes.router)
    errors.install(app)
    token = settings.access_token
    app.add_middleware(Access, token=None if token is None else token.get_secret_value())
    app.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=5)  # skips archives, pictures and event streams
    app.add_middleware(RequestFilter, max_body_bytes=settings.max_body_bytes, allowed_hosts=settings.allowed_hosts)
    app.add_middleware(RequestTelemetry, metrics=app.state.metrics, tracing=app.state.tracing)
    describe(app)
    return app


def _make(data_dir: Path) -> None:
    """Raises PermanentError if the folder cannot be made."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PermanentError(f"the data folder {data_dir} cannot be made: {error.strerror}; set DAPPLE_DATA_DIR") from error


def _answer_head(app: FastAPI) -> None:
    """Let the documentation's pages answer HEAD as GET; the other routes declare both."""
    for route in app.routes:
        methods = route.methods if isinstance(route, APIRoute) else None
        if methods is not None and "GET" in methods:
            methods.add("HEAD")


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    resources: Resources = app.state.resources
    closing: Event = app.state.closing
    closing.clear()
    with ending_in_words():
        _make(resources.settings.data_dir)
        resources.database.migrate_unless_shared()
    with noticing_signals(closing):
        yield
    closing.set()
    resources.queue.close()
    resources.database.dispose()
    app.state.tracing.close()
