"""The processes of a distributed service, as containers would run them: `dapple serve`, `dapple sweep`, `dapple work`."""

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from app.db.session import Database
from tests.databases import PostgresServer, why_no_postgres
from tests.e2e.service import DAPPLE, Service, pid_of
from tests.servers.brokers import RedisServer, free_port, why_no_redis
from tests.waiting import wait_long

EVERY_QUEUE = "gpu,cpu"
IN_ORDER = {0, signal.SIGTERM}  # uvicorn ends by the signal that it was sent


class Distributed(Service):
    """A database on a Postgres server and a Redis of its own, and as many workers as queues are given for."""

    def __init__(
        self, data_dir: Path, postgres: PostgresServer, *, queues: Sequence[str] = (EVERY_QUEUE,) * 2, **environment: str
    ) -> None:
        super().__init__(data_dir)
        data_dir.mkdir(parents=True, exist_ok=True)
        self.redis = RedisServer(data_dir)
        self._queues = queues
        url = postgres.new()
        database = Database(url)
        database.migrate()
        database.dispose()
        self._port = free_port()
        self._environment = {
            "DAPPLE_DATA_DIR": str(data_dir),
            "DAPPLE_DATABASE_URL": url.replace("postgresql:", "postgresql+psycopg:"),
            "DAPPLE_BROKER_URL": self.redis.url,
            **environment,
        }
        self._processes: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def running(self) -> bool:
        return bool(self._processes)

    def start(self) -> None:
        if not self.redis.running:
            self.redis.start()
        self._begin([*DAPPLE, "serve", "--port", str(self._port)])
        wait_long(lambda: self._alive(self._processes[0]) and self.client.ready())
        self._begin([*DAPPLE, "sweep"])
        for queues in self._queues:
            self.add_worker(queues)
        self.wait_for_workers(len(self._queues))

    def add_worker(self, queues: str = EVERY_QUEUE) -> subprocess.Popen[bytes]:
        """One more worker; returns before it is ready."""
        self.workers.append(self._begin([*DAPPLE, "work", "-Q", queues]))
        return self.workers[-1]

    def wait_for_workers(self, count: int) -> None:
        """Return once as many processes of this service have announced themselves, and live."""
        pids = {process.pid for process in self._processes}
        wait_long(lambda: len([one for one in self.client.workers() if pid_of(one) in pids]) >= count)

    def kill_worker_of(self, job_id: str) -> None:
        super().kill_worker_of(job_id)
        self.add_worker()

    def terminate(self) -> int:
        self._hang_up()
        for process in reversed(self._processes):
            process.terminate()
        codes = [process.wait() for process in self._processes]
        self._processes.clear()
        self.workers.clear()
        self.redis.stop()
        return 0 if {abs(code) for code in codes} <= IN_ORDER else 1

    def kill(self) -> None:
        self._hang_up()
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        self._processes.clear()
        self.workers.clear()

    def _begin(self, command: list[str]) -> subprocess.Popen[bytes]:
        self._processes.append(self._spawn(command, **self._environment))
        return self._processes[-1]

    def _alive(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, self.log()
        return True


def why_not_distributed() -> str | None:
    """Why no distributed service can run here, if none can."""
    return why_no_postgres() or why_no_redis()
