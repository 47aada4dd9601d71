"""A worker process that is stuck in the first stage. argv: how (`asleep`, `interpreter`, `diskless`), and its name."""

import ctypes
import sys
import tempfile
import time

from app.db.session import Database
from app.domain.job import TaskKind
from app.log import configure
from app.settings import Settings
from app.wakeup.polling import PollingQueue
from worker.service.worker_process import WorkerProcess
from worker.stages.context import StageResult, TaskContext, WorkerContext
from worker.stages.outputs import StageOutput

SECONDS = 600


def hang(_task: TaskContext, _worker: WorkerContext) -> StageResult:
    if how == "interpreter":
        ctypes.PyDLL(None).sleep(SECONDS)  # unlike CDLL it keeps the interpreter's lock: no other thread runs meanwhile
    if how == "diskless":
        tempfile.tempdir = "/not/there"
    time.sleep(SECONDS)
    return StageResult(StageOutput())


how, name = sys.argv[1:]
settings = Settings()
configure(settings.log_level, worker=name)
with WorkerProcess(
    settings, Database(settings.sqlalchemy_url), PollingQueue(), name=name, stages=dict.fromkeys(TaskKind, hang)
) as process:
    process.drain()
