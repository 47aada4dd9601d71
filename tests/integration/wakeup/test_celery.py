"""Wake-ups over real brokers: a Redis of one's own, and RabbitMQ where there is one."""

import json
import socket
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from kombu import Connection

from app.domain.job import Queue
from app.wakeup import celery
from app.wakeup.celery import MOST, TASK, CeleryQueue
from tests.servers.brokers import RedisServer, rabbitmq_url, skip_without, why_no_rabbitmq, why_no_redis
from tests.waiting import wait_until

PATIENCE_SECONDS = 20.0


@pytest.fixture
def redis(tmp_path: Path) -> Generator[RedisServer]:
    skip_without(why_no_redis())
    server = RedisServer(tmp_path).start()
    yield server
    server.stop()


@pytest.fixture(params=[pytest.param("redis", marks=pytest.mark.redis), "rabbitmq"])
def broker_url(request: pytest.FixtureRequest) -> str:
    if request.param == "redis":
        return request.getfixturevalue("redis").url
    skip_without(why_no_rabbitmq())
    purge(rabbitmq_url())
    return rabbitmq_url()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery, "SILENCE_SECONDS", 0.2)


def waiting(broker_url: str, queue: Queue) -> int:
    with Connection(broker_url) as connection:
        return connection.default_channel.queue_declare(queue.value, durable=True, auto_delete=False).message_count


def purge(broker_url: str) -> None:
    with Connection(broker_url) as connection:
        for queue in Queue:
            connection.default_channel.queue_declare(queue.value, durable=True, auto_delete=False)
            connection.default_channel.queue_purge(queue.value)


@pytest.fixture
def queue(broker_url: str) -> Iterator[CeleryQueue]:
    queue = CeleryQueue(broker_url)
    yield queue
    queue.close()


def test_as_many_messages_arrive_in_each_queue_as_were_asked_for(queue: CeleryQueue, broker_url: str):
    queue.wake(Queue.GPU, 3)
    queue.wake(Queue.CPU)
    queue.close()
    assert (waiting(broker_url, Queue.GPU), waiting(broker_url, Queue.CPU)) == (3, 1)
    purge(broker_url)


def test_a_message_names_the_task_and_carries_nothing(queue: CeleryQueue, broker_url: str):
    queue.wake(Queue.CPU)
    queue.close()
    with Connection(broker_url) as connection:
        message = connection.default_channel.basic_get(Queue.CPU.value, no_ack=True)
        assert message.headers["task"] == TASK
        assert json.loads(message.body)[:2] == [[], {}]


def test_messages_that_nobody_takes_do_not_pile_up(queue: CeleryQueue, broker_url: str):
    for _ in range(3):
        queue.wake(Queue.CPU, 10 * MOST)
        wait_until(lambda: waiting(broker_url, Queue.CPU) == MOST)
    queue.close()
    assert waiting(broker_url, Queue.CPU) == MOST
    purge(broker_url)


@pytest.mark.redis
def test_what_could_not_be_sent_is_sent_once_the_broker_answers_again(redis: RedisServer):
    queue = CeleryQueue(redis.url)
    queue.wake(Queue.CPU)
    wait_until(lambda: waiting(redis.url, Queue.CPU) == 1)
    redis.stop()
    queue.wake(Queue.CPU, 2)
    time.sleep(0.5)

    redis.start()

    wait_until(lambda: waiting(redis.url, Queue.CPU) == 2)
    queue.close()


@pytest.mark.redis
def test_a_restart_of_the_broker_between_two_messages_loses_no_more_than_the_first(redis: RedisServer):
    queue = CeleryQueue(redis.url)
    queue.wake(Queue.CPU)
    wait_until(lambda: waiting(redis.url, Queue.CPU) == 1)
    redis.stop()
    redis.start()

    queue.wake(Queue.CPU)
    queue.close()

    assert waiting(redis.url, Queue.CPU) == 1


@pytest.fixture(params=["redis://127.0.0.1:{port}/0", "amqp://guest:guest@127.0.0.1:{port}//"], ids=["redis", "amqp"])
def silent_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Of a broker that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield request.param.format(port=listener.getsockname()[1])


def test_a_silent_broker_delays_nobody(silent_url: str):
    queue = CeleryQueue(silent_url)
    started = time.monotonic()
    for _ in range(100):
        queue.wake(Queue.CPU)
    assert time.monotonic() - started < 1

    queue.close()

    assert time.monotonic() - started < 5
