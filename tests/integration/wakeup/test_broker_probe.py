"""The probe against real brokers, and against servers that are none."""

import socket
import threading
from collections.abc import Generator
from pathlib import Path

import pytest
import redis

from app.wakeup.broker_probe import BrokerUnavailable, probe
from tests.servers.brokers import RedisServer, free_port, rabbitmq_url, skip_without, why_no_rabbitmq, why_no_redis


@pytest.fixture
def locked(tmp_path: Path) -> Generator[RedisServer]:
    """A Redis whose password is `right`."""
    skip_without(why_no_redis())
    server = RedisServer(tmp_path).start()
    with redis.Redis(port=server.port) as client:
        client.config_set("requirepass", "right")
    yield server
    server.stop()


@pytest.mark.redis
def test_redis_must_take_the_password(locked: RedisServer) -> None:
    address = f"127.0.0.1:{locked.port}"
    assert probe(f"redis://:right@{address}/0") == f"redis at {address}"
    for url in (f"redis://:s3cret@{address}/0", f"redis://{address}/0"):
        with pytest.raises(BrokerUnavailable, match=f"redis at {address}: ") as refused:
            probe(url)
        assert "s3cret" not in str(refused.value)


def test_rabbitmq_must_take_the_password() -> None:
    skip_without(why_no_rabbitmq())
    assert probe(rabbitmq_url()).startswith("amqp at ")
    host = rabbitmq_url().partition("@")[2]
    with pytest.raises(BrokerUnavailable, match="ACCESS_REFUSED") as refused:
        probe(f"amqp://guest:s3cret@{host}")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_port_without_a_listener(scheme: str) -> None:
    port = free_port()
    with pytest.raises(BrokerUnavailable, match=f"{scheme} at 127.0.0.1:{port}: .*refused"):
        probe(f"{scheme}://127.0.0.1:{port}")


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_server_that_is_no_broker(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_answer, args=(listener,), daemon=True).start()
        with pytest.raises(BrokerUnavailable, match=f"{scheme} at "):
            probe(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}")


def _answer(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # closed
            return
        with connection:
            connection.recv(1024)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_a_password_that_breaks_the_url_is_not_in_the_error() -> None:
    with pytest.raises(BrokerUnavailable, match="%2F") as refused:
        probe("redis://:secret/1@broker/0")
    assert "secret" not in str(refused.value)


def test_another_scheme_is_refused() -> None:
    with pytest.raises(BrokerUnavailable, match="redis:// or amqp://"):
        probe("http://127.0.0.1")
