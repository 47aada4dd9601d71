"""`dapple serve`: the API alone, for an installation of several processes or machines."""

from typing import Annotated, Any

import typer
import uvicorn


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 8000,
    processes: Annotated[int, typer.Option(min=1, help="Number of processes that answer requests.")] = 1,
) -> None:
    """Start only the API; `dapple work` and `dapple sweep` are separate processes. DAPPLE_*
    variables set the rest.

    `uvicorn --factory app.main:create_app` lacks the limits on connections, and puts the current
    folder first on the path: a file app.py there would run instead.
    """
    from app.server.options import uvicorn_options  # imported here so that other commands do not load the API

    options: dict[str, Any] = uvicorn_options() | {"access_log": True, "log_level": "info"}
    uvicorn.run("app.main:create_app", factory=True, host=host, port=port, workers=processes, **options)
