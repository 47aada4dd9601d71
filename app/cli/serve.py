"""`dapple serve`: the API alone, for an installation of several processes or machines."""

from typing import Annotated, Any

import typer
import uvicorn


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 8000,
    processes: Annotated[int, typer.Option(min=1, help="How many processes answer requests.")] = 1,
) -> None:
    """Start the API alone; `dapple work` and `dapple sweep` are processes of their own. DAPPLE_* variables set the rest.

    `uvicorn --factory app.main:create_app` does the same, but puts the current folder on the path first: a file there called
    app.py would run instead.
    """
    from app.server.options import uvicorn_options  # here: every other command would load the whole API with it

    options: dict[str, Any] = uvicorn_options() | {"access_log": True, "log_level": "info"}
    uvicorn.run("app.main:create_app", factory=True, host=host, port=port, workers=processes, **options)
