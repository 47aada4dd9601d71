"""The options with which uvicorn serves this application."""

from typing import Any

from app.server.connections import Connections, protocol_class
from app.server.descriptors import connections_within, raise_limit

MOST_CONNECTIONS = 2000
BACKLOG = 256  # asyncio accepts this many connections at once before it handles the first
SHUTDOWN_SECONDS = 3


def uvicorn_options() -> dict[str, Any]:
    """Keyword arguments for `uvicorn.Config`. Raises the limit on open files of this process."""
    most = connections_within(raise_limit(), backlog=BACKLOG, most=MOST_CONNECTIONS)
    return {
        "http": protocol_class(Connections(most)),
        "ws": "none",
        "backlog": BACKLOG,
        "log_config": None,  # create_app configures every logger
        "log_level": "warning",
        "access_log": False,
        "timeout_graceful_shutdown": SHUTDOWN_SECONDS,
    }
