"""The Celery worker, started as `dapple work -Q gpu,cpu`. Every setting but the queues is here.

The pool is one thread. The models therefore exist once in this process, and SIGTERM reaches the
running task through an event, at its next step. If a process is killed in the middle of a task, the
expiry of the task's lease recovers the task, so messages are acknowledged early.
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

ANSWER_SECONDS = 10.0  # time limit of every operation of the broker, and the interval between checks of a silent connection


log = structlog.get_logger()


class QuietWorker(Worker):
    """A Celery worker that neither listens to other workers nor announces itself over the broker.

    The database knows which workers exist.
    """

    def prepare_args(self, **options: Any) -> dict[str, Any]:
        return options | {"without_gossip": True, "without_mingle": True, "without_heartbeat": True}


class DappleCelery(Celery):
    """Celery with the models and the runner of this process, which exist while the worker runs."""

    process: WorkerProcess

    @cached_property
    def process_name(self) -> str:
        """The name of this process and of no other, on all its log lines."""
        return unique_name()

    @property
    def Worker(self) -> Any:  # noqa: N802 - Celery's name
        return self.subclass_with_self(QuietWorker)


class ProcessStep(bootsteps.StartStopStep):
    """Starts the runner of the process once its pool exists.

    Stops the runner before the pool waits for the running task.
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
            # Queued behind the messages in the pool's one thread. If every message is lost, a task
            # is late by one heartbeat.
            on_idle_beat=lambda: parent.pool.apply_async(look, callback=forget),
        )
        self._open.enter_context(app.process)

    def stop(self, parent: Any) -> None:
        self._open.close()


@ending_in_words()
def configuration() -> Mapping[str, Any]:
    """The Celery settings of a worker."""
    broker_url = broker_url_of(settings_from())
    redis = {
        "socket_timeout": ANSWER_SECONDS,
        "socket_connect_timeout": ANSWER_SECONDS,
        "socket_keepalive": True,
        "health_check_interval": ANSWER_SECONDS,  # a half-open connection is noticed within twice this time
    }
    return {
        **shared(broker_url),
        "broker_transport_options": redis if is_redis(broker_url) else {},  # no visibility_timeout: messages are acked early
        "broker_heartbeat": ANSWER_SECONDS,  # for RabbitMQ
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
    """The URL of the broker. Raises PermanentError if none is set."""
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
    """Run tasks as `work` does, but without a message.

    Nobody reads what this function raises, so it logs the error itself.
    """
    try:
        app.process.drain()
    except Exception:
        log.exception("worker.look_failed")


def forget(_result: object) -> None:
    """The callback for a result, which Celery's pool requires. Does nothing."""


@signals.setup_logging.connect
def log_as_everywhere(**_: Any) -> None:
    """Send Celery's own records where the records of Dapple go."""
    configure(Settings().log_level, worker=app.process_name)


@signals.worker_shutting_down.connect
def stop_at_the_next_step(**_: Any) -> None:
    """Ask the running task to stop at its next step.

    Called in the signal handler, before Celery waits for the running task.
    """
    app.process.stopping.set()
