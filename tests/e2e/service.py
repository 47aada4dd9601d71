"""A real `dapple up` in processes of its own, to be watched, killed and started again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from app.client import Client
from app.domain.job import JobState, Phase
from app.domain.views import JobDetail

DAPPLE = [sys.executable, "-P", "-m", "app.cli"]
LOOK_SECONDS = 0.05


class Service:
    """One data folder and, while it runs, the service on it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Client | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the service was never started"
        return self._process

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def announcement(self) -> Path:
        return self.data_dir / "service.json"

    @property
    def url(self) -> str:
        return str(json.loads(self.announcement.read_text())["url"])

    @property
    def client(self) -> Client:
        """A connection to the service as it runs now."""
        if self._client is None:
            self._client = Client(self.url)
        return self._client

    def start(self) -> None:
        """Start the service and return once it answers."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        command = [*DAPPLE, "up", "--port", "0", "--data-dir", str(self.data_dir)]
        # One thread: a spinning second one would make these small jobs crawl on a busy machine.
        environment = os.environ | {"DAPPLE_PROGRESS_SECONDS": "0.05", "DAPPLE_THREADS": "1"}
        with (self.data_dir / "service.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        until(lambda: not self.running or self._announced())
        assert self.running, (self.data_dir / "service.log").read_text()

    def terminate(self) -> int:
        """The exit code after SIGTERM."""
        self._hang_up()
        self.process.terminate()
        return self.process.wait()

    def runner(self) -> psutil.Process:
        """The runner child, waiting for it to be there."""
        found: list[psutil.Process] = []
        until(lambda: bool(found.extend(psutil.Process(self.process.pid).children()) or found))
        return found[0]

    def kill(self, *, with_runner: bool) -> None:
        """SIGKILL, as the kernel does when memory runs out."""
        self._hang_up()
        victims = [self.runner()] if with_runner else []
        self.process.send_signal(signal.SIGKILL)
        for victim in victims:
            victim.kill()
        self.process.wait()
        psutil.wait_procs(victims)

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

    def _announced(self) -> bool:
        return self.announcement.exists() and json.loads(self.announcement.read_text())["pid"] == self.process.pid


def in_the_middle_of_sampling(client: Client, job_id: str) -> None:
    """Return while some but not all of the job's sampling steps are done."""

    def halfway() -> bool:
        job = client.get(job_id)
        assert not job.state.terminal, f"the job was {job.state} before it could be disturbed: {job.failure}"
        return any(part.phase is Phase.SAMPLING and 0 < part.done < part.total for part in job.progress.phases)

    until(halfway)


def succeeded(client: Client, job_id: str) -> JobDetail:
    """The job, which must end well."""
    job = client.wait(job_id)
    assert job.state is JobState.SUCCEEDED, job.failure
    return job


def archive_digest(client: Client, spec: Mapping[str, Any]) -> str:
    """SHA-256 of what a new job with this spec makes."""
    archive = succeeded(client, client.submit(spec).id).archive
    assert archive is not None
    return archive.sha256


def until(condition: Callable[[], bool]) -> None:
    """Return once the condition holds; the test's own timeout ends what never does."""
    while not condition():
        time.sleep(LOOK_SECONDS)
