"""Brokers for tests: where they are, and what to say where they are not."""

import os
import shutil
import socket
import subprocess
import time
from functools import cache
from pathlib import Path
from typing import Self

import pytest
import redis
from kombu import Connection

RABBITMQ_VARIABLE = "DAPPLE_TEST_RABBITMQ_URL"
PATIENCE_SECONDS = 10.0


class RedisServer:
    """A Redis of one's own on a free port, which may be stopped and started again; it keeps nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def running(self) -> bool:
        return self._process is not None

    def start(self) -> Self:
        """Return once it answers."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen([*command, "--dir", self._folder], stdout=subprocess.DEVNULL)
        with redis.Redis(port=self.port) as client:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while time.monotonic() < deadline:
                try:
                    client.ping()
                except redis.ConnectionError:
                    time.sleep(0.02)
                else:
                    return self
        raise AssertionError("redis-server does not answer")

    def stop(self) -> None:
        """End it, if it runs, with all that it holds."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def flush(self) -> None:
        """Forget everything, as a restart without persistence does."""
        with redis.Redis(port=self.port) as client:
            client.flushall()


def why_no_redis() -> str | None:
    """Why tests cannot have a Redis of their own here, if they cannot."""
    return None if shutil.which("redis-server") else "no redis-server on the PATH"


def rabbitmq_url() -> str:
    return os.environ.get(RABBITMQ_VARIABLE, "amqp://guest:guest@127.0.0.1:5672//")


@cache
def why_no_rabbitmq() -> str | None:
    """Why tests on RabbitMQ cannot run here, if they cannot."""
    try:
        with Connection(rabbitmq_url(), connect_timeout=5) as connection:
            connection.ensure_connection(max_retries=1)
    except OSError as error:
        return f"no RabbitMQ at {RABBITMQ_VARIABLE}={rabbitmq_url()} ({error})"
    return None


def skip_without(reason: str | None) -> None:
    """Skip the test that calls this, if there is a reason."""
    if reason:
        pytest.skip(reason)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
