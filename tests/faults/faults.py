"""Do to a cluster what a schedule says."""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from tests.faults.clock import wrong_by
from tests.faults.cluster import SERVICES, Cluster
from tests.faults.proxy import Network
from tests.faults.schedule import Fault, Kind

NETWORKS = {Kind.NETWORK_CUT: Network.CUT, Kind.NETWORK_HALF_OPEN: Network.HALF_OPEN, Kind.NETWORK_SLOW: Network.SLOW}


def possible(cluster: Cluster) -> tuple[list[Kind], list[str]]:
    """The kinds of fault that this machine permits, and why the others are left out."""
    left_out = {
        Kind.STORE_SILENT: None if cluster.ceph else "no object store is installed",
        Kind.STORE_REFUSES: None if cluster.ceph else "no object store is installed",
        Kind.DISK_FULL: cluster.disk.why_not,
        Kind.WORKER_CLOCK: None if cluster.clock_library else "no C compiler is installed",
    }
    reasons = [f"{kind}: {why}" for kind, why in left_out.items() if why]
    return [kind for kind in Kind if not left_out.get(kind)], reasons


def services(cluster: Cluster) -> list[str]:
    return [service for service in SERVICES if ("api", service) in cluster.proxies]


class Injector:
    """Makes faults happen while the block runs; several may overlap."""

    def __init__(self, cluster: Cluster, say: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._say = say
        self.failed: list[str] = []  # faults that could not happen
        self._running: list[threading.Thread] = []
        self._store = threading.Lock()

    def inject(self, faults: Sequence[Fault], before_each: Callable[[], None]) -> None:
        """One after another, each when its pause is over and `before_each` has returned; returns when all have passed."""
        for fault in faults:
            before_each()
            time.sleep(fault.pause_seconds)
            self._say(f"{time.time():.3f} {fault}")
            thread = threading.Thread(target=self._happen, args=(fault,), name=f"fault-{fault.number}")
            thread.start()
            self._running.append(thread)
        for thread in self._running:
            thread.join()

    def _happen(self, fault: Fault) -> None:
        try:
            self._strike(fault)
        except Exception as error:  # noqa: BLE001 - the run goes on and fails in the end
            self.failed.append(f"{fault}: {error!r}")

    def _strike(self, fault: Fault) -> None:
        cluster = self._cluster
        match fault.kind:
            case Kind.WORKER_KILLED:
                cluster.kill_worker(cluster.workers[fault.worker])
            case Kind.WORKER_STOPPED | Kind.WORKER_CLOCK:
                self._upset_worker(fault)
            case Kind.API_KILLED:
                cluster.api.send(signal.SIGKILL)
            case Kind.SWEEPER_KILLED:
                cluster.sweeper.send(signal.SIGKILL)
            case Kind.REDIS_FLUSHED | Kind.REDIS_RESTARTED | Kind.REDIS_OUTAGE:
                self._upset_redis(fault)
            case Kind.POSTGRES_FAST:
                cluster.postgres.process.send(signal.SIGINT)
            case Kind.POSTGRES_IMMEDIATE:
                cluster.postgres.process.send(signal.SIGQUIT)
            case Kind.STORE_SILENT | Kind.STORE_REFUSES:
                self._upset_store(fault)
            case Kind.DISK_FULL:
                cluster.disk.fill()
                time.sleep(fault.seconds)
                cluster.disk.free()
            case _:
                proxy = cluster.proxies[f"worker-{fault.worker}", fault.service]
                proxy.set(NETWORKS[fault.kind])
                time.sleep(fault.seconds)
                proxy.set(Network.WHOLE)

    def _upset_worker(self, fault: Fault) -> None:
        worker = self._cluster.workers[fault.worker]
        if fault.kind is Kind.WORKER_STOPPED:
            worker.send(signal.SIGSTOP)
            time.sleep(fault.seconds)
            worker.send(signal.SIGCONT)
        else:
            assert self._cluster.clock_library is not None
            worker.environment |= wrong_by(fault.clock_seconds, self._cluster.clock_library)
            self._cluster.kill_worker(worker)

    def _upset_redis(self, fault: Fault) -> None:
        redis = self._cluster.redis
        if fault.kind is Kind.REDIS_FLUSHED:
            with suppress(OSError):  # it may be down already
                redis.flush()
        elif fault.kind is Kind.REDIS_RESTARTED:
            redis.process.send(signal.SIGKILL)
        else:
            redis.process.stop()
            time.sleep(fault.seconds)
            redis.process.start()

    def _upset_store(self, fault: Fault) -> None:
        ceph = self._cluster.ceph
        assert ceph is not None
        with self._store:
            if fault.kind is Kind.STORE_SILENT:
                ceph.pause()
                time.sleep(fault.seconds)
                ceph.resume()
            else:
                ceph.kill_gateway()
                time.sleep(fault.seconds)
                ceph.start_gateway()
