"""The whole distributed service in processes of its own, each reaching each service through a proxy of its own."""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.db.session import Database
from app.settings import Settings
from tests.faults import clock
from tests.faults.disk import SmallDisk
from tests.faults.processes import Process, Supervisor, free_ports
from tests.faults.proxy import Network, Proxy, running_loop
from tests.faults.servers import Postgres, Redis
from tests.servers.s3 import KEYS, CephServer, make_bucket
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
SERVICES = ("postgres", "redis", "store")
START_SECONDS = 90.0


@dataclass(frozen=True)
class Kill:
    """A SIGKILL of a worker process, by the clock of this machine, which is the database's too."""

    pid: int
    at: float


class Cluster:
    """API, sweeper and workers on Postgres, Redis and, where it is installed, a Ceph gateway.

    Workers share a data folder as the containers of one machine do; its cache is a small disk of its own where this machine
    permits one.
    """

    def __init__(self, stack: ExitStack, logs: Path, *, workers: int, settings: Mapping[str, str]) -> None:
        self.logs = logs
        self.kills: list[Kill] = []
        self._settings = settings
        self._supervisor = Supervisor()
        self._folder = Path(tempfile.mkdtemp(prefix="dapple-faults-"))
        stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
        stack.callback(self._supervisor.close)
        clients = ["api", "sweeper", *(f"worker-{number}" for number in range(workers))]
        ports = iter(free_ports(4 + len(clients) * len(SERVICES)))
        self.postgres = Postgres(self._supervisor, logs, next(ports))
        stack.callback(self.postgres.remove)
        self.redis = Redis(self._supervisor, logs, next(ports))
        self.ceph, self._store_environment = self._object_store(stack, next(ports))
        self.url = f"http://127.0.0.1:{next(ports)}"
        self.clock_library = clock.compiled(self._folder)
        self.disk = SmallDisk(self._folder / "data" / "cache")
        stack.callback(self.disk.unmount)
        self.proxies: dict[tuple[str, str], Proxy] = {}
        self._proxy_ports: dict[tuple[str, str], int] = {}
        loop = stack.enter_context(running_loop())
        for client in clients:
            for service, target in self._targets().items():
                port = next(ports)
                self.proxies[client, service] = Proxy(loop, port, target)
                stack.callback(self.proxies[client, service].set, Network.CUT)
                self._proxy_ports[client, service] = port
        stack.callback(self._supervisor.close)  # before the proxies close
        python = [sys.executable, "-P", "-m"]
        port = self.url.rpartition(":")[2]
        self.api = self._process("api", [*python, "uvicorn", "--factory", "app.main:create_app", "--port", port])
        self.sweeper = self._process("sweeper", [*python, "app.cli", "sweep"])
        celery = [*python, "celery", "-A", "worker.main", "worker", "-Q", "gpu,cpu", "-n", "{name}@%h"]
        self.workers = [
            self._process(name, [part.replace("{name}", name) for part in celery]) for name in clients if "worker" in name
        ]

    def start(self) -> None:
        """Start everything that is not a service, and return once the API is ready."""
        database = Database(self.postgres.url)
        database.migrate()
        database.dispose()
        self._supervisor.start(self.api)
        wait_until(self.ready, START_SECONDS, "the API")
        for process in (self.sweeper, *self.workers):
            self._supervisor.start(process)

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def kill_worker(self, worker: Process) -> None:
        if worker.alive:
            self.kills.append(Kill(worker.pid, time.time()))
            worker.send(signal.SIGKILL)

    def environment(self, client: str | None = None) -> dict[str, str]:
        """Of a process that reaches the services through the proxies of `client`, or directly."""
        ports = {service: self._proxy_ports[client, service] if client else port for service, port in self._targets().items()}
        environment = self._store_environment | {
            "DAPPLE_DATABASE_URL": self.postgres.url.replace(str(self.postgres.port), str(ports["postgres"])),
            "DAPPLE_BROKER_URL": f"redis://127.0.0.1:{ports['redis']}/0",
            "DAPPLE_DATA_DIR": str(self._folder / "data"),
            "DAPPLE_THREADS": "1",
            "DAPPLE_DEVICE": "cpu",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }
        if self.ceph is not None:
            environment["DAPPLE_S3_ENDPOINT"] = f"http://127.0.0.1:{ports['store']}"
        return environment | dict(self._settings)

    def product_settings(self) -> Settings:
        """Those of a process here that reaches the services directly."""
        mine = {name.removeprefix("DAPPLE_").lower(): value for name, value in self.environment().items()}
        return Settings.model_validate({name: value for name, value in mine.items() if name in Settings.model_fields})

    def _process(self, name: str, command: list[str]) -> Process:
        return Process(name, command, self.logs / f"{name}.log", self.environment(name))

    def _targets(self) -> dict[str, int]:
        targets = {"postgres": self.postgres.port, "redis": self.redis.port}
        return targets | ({"store": int(self.ceph.endpoint.rpartition(":")[2])} if self.ceph else {})

    def _object_store(self, stack: ExitStack, port: int) -> tuple[CephServer | None, dict[str, str]]:
        if CephServer.missing():
            return None, {}
        os.environ.update(KEYS)  # the checks read the store from this process
        server = CephServer(self._folder / "ceph", port)
        stack.callback(server.stop)
        server.start()
        return server, make_bucket(server.endpoint).environment


@contextmanager
def running(logs: Path, *, workers: int, settings: Mapping[str, str]) -> Generator[Cluster]:
    """A started cluster that is gone, with all it stored, when the block ends; the logs stay."""
    logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        cluster = Cluster(stack, logs, workers=workers, settings=settings)
        cluster.start()
        yield cluster
