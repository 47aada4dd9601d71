"""Wake-ups through a broker. Each message calls one Celery task, by name, without arguments."""

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

import structlog
from celery import Celery
from kombu import Exchange
from kombu import Queue as BrokerQueue

from app.domain.job import Queue

TASK = "dapple.work"
EXCHANGE = Exchange("dapple")
MOST = 100  # messages that may wait in a queue: a woken worker drains it, so more would wake no other worker
ANSWER_SECONDS = 1.0  # the time limit of every operation of a broker
SILENCE_SECONDS = 5.0  # between two attempts while the broker does not answer
CLOSING_SECONDS = 3.0

log = structlog.get_logger()


class CeleryQueue:
    """A TaskQueue on Redis or RabbitMQ.

    A thread sends the messages, so neither a slow nor a silent broker keeps a caller waiting.
    Messages that could not be sent are sent once the broker answers again. No message expires by a
    clock, because a clock may be wrong on some machine. Instead, no more than MOST messages wait at
    any time.
    """

    def __init__(self, broker_url: str) -> None:
        self._celery = Celery("dapple", set_as_current=False, config_source=dict(sending(broker_url)))
        self._connection: Any = None
        self._wanted: Counter[Queue] = Counter()
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    def wake(self, queue: Queue, count: int = 1) -> None:
        """Tell up to `count` workers that tasks of this queue are ready; returns at once."""
        with self._changed:
            self._wanted[queue] = min(self._wanted[queue] + count, MOST)
            if self._thread is None:  # not in the constructor: a server may fork after it
                self._thread = threading.Thread(target=self._send_wanted, name="wake-ups", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Send the remaining messages, for CLOSING_SECONDS at most."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(CLOSING_SECONDS)

    def _send_wanted(self) -> None:
        silent = False
        while wanted := self._next():
            try:
                self._send(wanted)
            except Exception as error:  # noqa: BLE001 - whatever a broker's library raises, the database has the tasks
                self._hang_up()
                if not silent:
                    log.warning("queue.silent", reason=str(error))
                silent = True
                self._put_back(wanted)
            else:
                if silent:
                    log.info("queue.answers")
                silent = False
        self._hang_up()

    def _next(self) -> Mapping[Queue, int]:
        """The messages to send, once there are any; empty once the queue is closed and drained."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._wanted.total())
            wanted, self._wanted = self._wanted, Counter()
            return wanted

    def _put_back(self, wanted: Mapping[Queue, int]) -> None:
        """Put unsent messages back after SILENCE_SECONDS, or drop them once the queue is closed."""
        with self._changed:
            if self._changed.wait_for(lambda: self._closing, SILENCE_SECONDS):
                return
            for queue, count in wanted.items():
                self._wanted[queue] = min(self._wanted[queue] + count, MOST)

    def _send(self, wanted: Mapping[Queue, int]) -> None:
        """Send over the open connection, or over a new one if that was cut since its last use."""
        if self._connection is not None:
            try:
                return self._send_over(self._connection, wanted)
            except Exception as error:  # noqa: BLE001 - the new connection will show what is wrong
                log.debug("queue.reconnects", reason=str(error))
                self._hang_up()
        self._connection = self._celery.connection_for_write()
        return self._send_over(self._connection, wanted)

    def _hang_up(self) -> None:
        """Drop the connection without a message to the broker, which may not respond."""
        if self._connection is not None:
            self._connection.collect(ANSWER_SECONDS)
        self._connection = None

    def _send_over(self, connection: Any, wanted: Mapping[Queue, int]) -> None:
        producer = self._celery.amqp.Producer(connection.default_channel, auto_declare=False)
        for queue, count in wanted.items():
            declared = self._celery.amqp.queues[queue.value](producer.channel).queue_declare()
            for _ in range(min(count, MOST - declared.message_count)):
                self._celery.send_task(TASK, queue=queue.value, producer=producer, retry=False)


def shared(broker_url: str) -> Mapping[str, Any]:
    """The settings of Celery that senders and workers must agree on."""
    return {
        "broker_url": broker_url,
        "task_queues": tuple(BrokerQueue(queue.value, EXCHANGE, routing_key=queue.value) for queue in Queue),
        "task_default_queue": Queue.CPU.value,
        "task_create_missing_queues": False,
        "task_default_delivery_mode": "transient",
        "task_ignore_result": True,
    }


def sending(broker_url: str) -> Mapping[str, Any]:
    """The settings of Celery for a process that sends, which gives up soon."""
    redis = {"socket_timeout": ANSWER_SECONDS, "socket_connect_timeout": ANSWER_SECONDS}
    amqp = {"read_timeout": ANSWER_SECONDS, "write_timeout": ANSWER_SECONDS}
    return {
        **shared(broker_url),
        "broker_connection_timeout": ANSWER_SECONDS,
        "broker_transport_options": {"max_retries": 0} | (redis if is_redis(broker_url) else amqp),
    }


def is_redis(broker_url: str) -> bool:
    """Whether the broker is Redis; otherwise it is RabbitMQ."""
    return broker_url.startswith(("redis:", "rediss:"))
