"""What the containers run, run here as plain processes: same commands, same environment, but for where things are."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.client import Client
from app.domain.job import JobState
from tests.databases import PostgresServer
from tests.docker.compose import SECRET, SECRETS, project
from tests.waiting import wait_long

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.redis]

ENDED_AS_ASKED = (0, -signal.SIGTERM)  # uvicorn ends in order, then by the signal that asked it to
AUTHORIZED = {"Authorization": f"Bearer {SECRET}"}
SPEC = {"dataset_uri": "sklearn://digits", "ipc": 1, "backbone": "embedded/digits", "sampling": {"steps": 4}}


class Stack:
    """The services of docker-compose.yml on this machine's Postgres and Redis, with artifacts in a folder."""

    def __init__(self, folder: Path, database_url: str, redis_url: str, ports: list[int]) -> None:
        self.services: dict[str, Any] = project(dict.fromkeys(SECRETS, SECRET) | {"WORKER_QUEUES": "gpu,cpu"})["services"]
        self._folder = folder
        self.port, self.metrics_port, self._sweeper_port = ports
        self._moved = {
            "DAPPLE_DATABASE_URL": database_url,
            "DAPPLE_BROKER_URL": redis_url,
            "DAPPLE_DATA_DIR": str(folder / "data"),
            "DAPPLE_DATASET_ROOTS": str(folder),
            "DAPPLE_METRICS_PORT": str(self.metrics_port),
        }

    def environment(self, name: str) -> Mapping[str, str]:
        wanted: dict[str, str] = self.services[name]["environment"]
        ours = wanted | {key: value for key, value in self._moved.items() if key in wanted}
        del ours["DAPPLE_ARTIFACTS_URL"]  # no such store runs here: a folder is its stand-in
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        kept = {key: os.environ[key] for key in ("PYTHONPATH", "HOME", "OMP_NUM_THREADS") if key in os.environ}
        if name == "sweeper":  # containers have addresses of their own
            ours["DAPPLE_METRICS_PORT"] = str(self._sweeper_port)
        return {"PATH": path, **kept, **ours, "DAPPLE_HEARTBEAT_SECONDS": "1", "DAPPLE_THREADS": "1"}

    def command(self, name: str) -> list[str]:
        here = {"8000": str(self.port), "0.0.0.0": "127.0.0.1"}  # noqa: S104 - what the container binds
        words: list[str] = self.services[name]["command"]
        return [here.get(word, word) for word in words]

    def finished(self, name: str) -> int:
        """The exit code of a service that ends by itself."""
        return subprocess.run(self.command(name), env=self.environment(name), cwd=self._folder, check=False).returncode

    def healthy(self, name: str) -> bool:
        """What its health check says."""
        words = [
            word.replace(":8000/", f":{self.port}/").replace(":9100/", f":{self.metrics_port}/")
            for word in self.services[name]["healthcheck"]["test"][1:]
        ]
        done = subprocess.run(
            [sys.executable if word == "python" else word for word in words], capture_output=True, check=False
        )
        return done.returncode == 0

    @contextmanager
    def running(self, name: str) -> Generator[subprocess.Popen[bytes]]:
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(self.command(name), env=self.environment(name), cwd=self._folder, stdout=log, stderr=log)
        try:
            yield process
            process.terminate()
            seconds = float(self.services[name]["stop_grace_period"].removesuffix("s"))
            assert process.wait(seconds) in ENDED_AS_ASKED, (self._folder / f"{name}.log").read_text()
        finally:
            process.kill()


@pytest.fixture
def stack(tmp_path: Path, postgres: PostgresServer, free_ports: list[int]) -> Stack:
    return Stack(tmp_path, postgres.new(), "redis://127.0.0.1:6379/7", free_ports)


@pytest.mark.timeout(240)
def test_the_commands_of_the_containers_make_a_dataset(stack: Stack, tmp_path: Path) -> None:
    assert stack.finished("migrate") == 0
    assert not stack.healthy("api")
    with ExitStack() as started:
        for name in ("api", "worker", "sweeper"):
            started.enter_context(stack.running(name))
        wait_long(lambda: stack.healthy("api"))
        with Client(f"http://127.0.0.1:{stack.port}", access_token=lambda _: SECRET) as client:
            job = client.wait(client.submit(SPEC).id)
            assert job.state is JobState.SUCCEEDED, job.failure
            client.download(job.id, tmp_path / "archive.zip")
        assert stack.healthy("worker")
        told = httpx.get(f"http://127.0.0.1:{stack.metrics_port}/metrics").text
        assert "dapple_samples_total 10.0" in told
        assert (
            'dapple_jobs{state="succeeded"} 1.0' in httpx.get(f"http://127.0.0.1:{stack.port}/metrics", headers=AUTHORIZED).text
        )
    lines = (tmp_path / "worker.log").read_text().splitlines()
    assert all("worker" in json.loads(line) for line in lines), lines
