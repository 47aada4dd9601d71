"""A real `dapple up`: the API and its child, the worker, on one folder."""

import json
import signal
import subprocess
from pathlib import Path

import psutil

from tests.e2e.service import DAPPLE, Service
from tests.waiting import wait_long


class Embedded(Service):
    """One data folder and, while it runs, `dapple up` on it. It reads datasets below `dataset_root`, if there is one."""

    def __init__(self, data_dir: Path, *, dataset_root: Path | None = None) -> None:
        super().__init__(data_dir)
        self._dataset_root = dataset_root
        self._process: subprocess.Popen[bytes] | None = None

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

    def start(self) -> None:
        roots = [] if self._dataset_root is None else ["--dataset-root", str(self._dataset_root)]
        self._process = self._spawn([*DAPPLE, "up", "--port", "0", "--data-dir", str(self.data_dir), *roots])
        wait_long(lambda: not self.running or self._announced())
        assert self.running, self.log()

    def terminate(self) -> int:
        self._hang_up()
        self.process.terminate()
        return self.process.wait()

    def worker(self) -> psutil.Process:
        """The worker child, waiting for it to be there."""
        found: list[psutil.Process] = []
        wait_long(lambda: bool(found.extend(psutil.Process(self.process.pid).children()) or found))
        return found[0]

    def kill(self) -> None:
        worker = self.worker()
        self.kill_parent()
        worker.kill()
        psutil.wait_procs([worker])

    def kill_parent(self) -> None:
        """SIGKILL to the process that serves HTTP alone."""
        self._hang_up()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def _announced(self) -> bool:
        return self.announcement.exists() and json.loads(self.announcement.read_text())["pid"] == self.process.pid
