"""`dapple work`: a Celery worker of this installation, whatever lies in the folder it is started
in.
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
    """Start a worker that runs tasks of these queues until it is stopped; DAPPLE_* environment
    variables set the rest.

    `celery -A worker.main worker` does the same, but puts the current folder on the path first: a
    file there called worker.py or app.py would run instead.
    """
    unknown = sorted(set(queues.split(",")) - set(Queue))
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is no queue; there are {' and '.join(Queue)}", param_hint="--queues")
    configure(settings_from().log_level, worker=app.process_name)  # Celery warns before it sets up its logs
    sys.__stdout__ = None  # where Celery writes that it shuts down, past every log
    app.worker_main(["--quiet", "worker", "--queues", queues])
