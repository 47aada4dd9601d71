"""The Celery worker, started as `dapple work -Q gpu,cpu`: every setting but the queues is here.

The pool is one thread: the models live in this process once, and SIGTERM reaches the running task
through an event, at its next step. A process killed in the middle of a task is made good by the
task's lease, so messages are acknowledged early.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from typing import Any

import structlog
from celery import Celery, bootsteps, signals
from celery.apps.worker import Worker

from app.db.session import Database
from app.domain.errors import PermanentError
from app.domain.job import Queue
from app.log import configure
from app.settings import Settings, settings_from
from app.startup_errors import ending_in_words
from app.wakeup.celery import TASK, CeleryQueue, is_redis, shared
from worker.service.worker_process import WorkerProcess, unique_name

ANSWER_SECONDS = 10.0  # what the broker may take for anything, and how often a silent connection is looked at


log = structlog.get_logger()


class QuietWorker(Worker):
    """Neither listens to other workers nor tells of itself over the broker: the database knows who
    is there.
    """

    def prepare_args(self, **options: Any) -> dict[str, Any]:
        return options | {"without_gossip": True, "without_mingle": True, "without_heartbeat": True}


class DappleCelery(Celery):
    """Celery with this process's models and runner, which are there while the worker runs."""

    process: WorkerProcess

    @cached_property
    def process_name(self) -> str:
        """Of this process alone; on all its log lines."""
        return unique_name()

    @property
    def Worker(self) -> Any:  # noqa: N802 - Celery's name
        return self.subclass_with_self(QuietWorker)


class ProcessStep(bootsteps.StartStopStep):
    """Makes the process's runner once its pool is there, and stops it before the pool waits for the
    running task.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._open = ExitStack()

    @ending_in_words()
    def start(self, parent: Any) -> None:
        settings = Settings()
        database = Database(settings.sqlalchemy_url)
        self._open.callback(database.dispose)
        queue = CeleryQueue(broker_url_of(settings))
        self._open.callback(queue.close)
        app.process = WorkerProcess(
            settings,
            database,
            queue,
            name=app.process_name,
            queues=frozenset(map(Queue, app.amqp.queues.consume_from)),
            # Behind the messages in the pool's one thread. Should every message be lost, a task is
            # late by a heartbeat.
            on_idle_beat=lambda: parent.pool.apply_async(look, callback=forget),
        )
        self._open.enter_context(app.process)

    def stop(self, parent: Any) -> None:
        self._open.close()


@ending_in_words()
def configuration() -> Mapping[str, Any]:
    """Celery's settings of a worker."""
    broker_url = broker_url_of(settings_from())
    redis = {
        "socket_timeout": ANSWER_SECONDS,
        "socket_connect_timeout": ANSWER_SECONDS,
        "socket_keepalive": True,
        "health_check_interval": ANSWER_SECONDS,  # a half-open connection is noticed within twice as long
    }
    return {
        **shared(broker_url),
        "broker_transport_options": redis if is_redis(broker_url) else {},  # visibility_timeout: nothing stays unacknowledged
        "broker_heartbeat": ANSWER_SECONDS,  # RabbitMQ's
        "broker_connection_timeout": ANSWER_SECONDS,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # a worker outlives any outage
        "task_acks_late": False,
        "worker_pool": "threads",
        "worker_concurrency": 1,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": is_redis(broker_url),  # a busy worker must not hold messages that would wake an idle one
        "worker_enable_prefetch_count_reduction": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


def broker_url_of(settings: Settings) -> str:
    """Raises PermanentError if there is no broker."""
    if settings.broker_url is None:
        raise PermanentError("DAPPLE_BROKER_URL is not set: a Celery worker needs a redis:// or amqp:// URL")
    return settings.broker_url


app = DappleCelery("dapple")
app.add_defaults(configuration)
app.steps["worker"].add(ProcessStep)


@app.task(name=TASK)
def work() -> None:
    """Run tasks of this worker's queues until none is left."""
    app.process.drain()


def look() -> None:
    """The same without a message. Nobody reads what it raises, so that is told here."""
    try:
        app.process.drain()
    except Exception:
        log.exception("worker.look_failed")


def forget(_result: object) -> None:
    """What Celery's pool asks for to be told a result."""


@signals.setup_logging.connect
def log_as_everywhere(**_: Any) -> None:
    """Celery's own records go where ours go."""
    configure(Settings().log_level, worker=app.process_name)


@signals.worker_shutting_down.connect
def stop_at_the_next_step(**_: Any) -> None:
    """Called in the signal's handler, before Celery waits for the running task."""
    app.process.stopping.set()
