"""What tests do with a running service, however it is run, and how they watch jobs."""

import abc
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.client import Client
from app.domain.job import JobState, Phase
from app.schemas import JobDetail, WorkerView
from tests.waiting import wait_long

DAPPLE = [sys.executable, "-P", "-m", "app.cli"]
LOOK_SECONDS = 0.05

# One thread: a spinning second one would make these small jobs crawl on a busy machine. Short leases: crashes are noticed soon.
ENVIRONMENT = {
    "DAPPLE_THREADS": "1",
    "DAPPLE_PROGRESS_SECONDS": "0.05",
    "DAPPLE_LEASE_SECONDS": "6",
    "DAPPLE_HEARTBEAT_SECONDS": "2",
    "DAPPLE_RETRY_BACKOFF_SECONDS": "0.2",
}


class Service(abc.ABC):
    """One set of stored jobs and, while it runs, the service on it: real processes, to be killed and started again."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._client: Client | None = None

    @property
    @abc.abstractmethod
    def url(self) -> str: ...

    @property
    @abc.abstractmethod
    def running(self) -> bool: ...

    @abc.abstractmethod
    def start(self) -> None:
        """Start the service and return once it answers and has workers."""

    @abc.abstractmethod
    def terminate(self) -> int:
        """SIGTERM to everything; 0 if every process ended in order."""

    @abc.abstractmethod
    def kill(self) -> None:
        """SIGKILL to every process, as the kernel does when memory runs out."""

    @property
    def client(self) -> Client:
        """A connection to the service as it runs now."""
        if self._client is None:
            self._client = Client(self.url)
        return self._client

    def worker_of(self, job_id: str) -> WorkerView:
        """The worker that runs a task of the job, waiting for there to be one."""
        found: list[WorkerView] = []
        wait_long(
            lambda: bool(found.extend(one for one in self.client.workers() if one.task and one.task.job_id == job_id) or found)
        )
        return found[0]

    def kill_worker_of(self, job_id: str) -> None:
        """SIGKILL to the process that runs a task of the job; another takes its place."""
        os.kill(pid_of(self.worker_of(job_id)), signal.SIGKILL)

    def _spawn(self, command: list[str], **environment: str) -> subprocess.Popen[bytes]:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with (self.data_dir / "service.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | ENVIRONMENT | environment)

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

    def log(self) -> str:
        """What its processes have written so far."""
        return (self.data_dir / "service.log").read_text()


def pid_of(worker: WorkerView) -> int:
    """A worker's name tells its process: HOST:PID:RANDOM, or embedded:FOLDER:NUMBER:PID."""
    parts = worker.name.split(":")
    return int(parts[-1] if parts[0] == "embedded" else parts[1])


def in_the_middle_of_sampling(client: Client, job_id: str) -> None:
    """Return while some but not all of the job's sampling steps are done."""

    def halfway() -> bool:
        job = client.get(job_id)
        assert not job.state.terminal, f"the job was {job.state} before it could be disturbed: {job.failure}"
        return any(part.phase is Phase.SAMPLING and 0 < part.done < part.total for part in job.progress.phases)

    wait_long(halfway)


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
