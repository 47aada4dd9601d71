"""`dapple work`: starts a Celery worker of this installation.

The contents of the current folder have no influence on it.
"""

import sys
from typing import Annotated

import typer

from app.domain.job import Queue
from app.log import configure
from app.settings import settings_from
from worker.service.celery_worker import app


def work(
    queues: Annotated[
        str, typer.Option("-Q", "--queues", help="Which tasks to run: gpu, cpu, or both separated by a comma.")
    ] = ",".join(Queue),
) -> None:
    """Start a worker that runs tasks of these queues until it is stopped.

    DAPPLE_* environment variables set the rest. `celery -A worker.main worker` does the same, but
    puts the current folder on the path first. A file called worker.py or app.py in that folder
    would then run instead.
    """
    unknown = sorted(set(queues.split(",")) - set(Queue))
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is not a queue; there are {' and '.join(Queue)}", param_hint="--queues")
    configure(settings_from().log_level, worker=app.process_name)  # Celery warns before it sets up its logs
    sys.__stdout__ = None  # Celery would write there that it shuts down, bypassing every log
    app.worker_main(["--quiet", "worker", "--queues", queues])
