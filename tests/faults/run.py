"""One run: undisturbed jobs first, then many under faults, then the checks."""

import sys
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg

from app.client import Client
from app.db.session import Database
from app.domain.job import JobState
from app.domain.ports import ArtifactStore
from app.storage.factory import store_for
from tests.faults import checks, faults, jobs
from tests.faults.checks import Findings
from tests.faults.cluster import Cluster, running
from tests.faults.schedule import schedule
from tests.waiting import wait_until
from worker.service.orphaned_artifacts import sweep_orphans

MOST_UNFINISHED = 60  # faults wait for jobs when more are open, so that they strike work and not a heap
SHORT = {
    "DAPPLE_LEASE_SECONDS": "2",
    "DAPPLE_HEARTBEAT_SECONDS": "0.5",
    "DAPPLE_RETRY_BACKOFF_SECONDS": "0.1",
    "DAPPLE_OUTAGE_BACKOFF_SECONDS": "0.5",
    "DAPPLE_PATIENCE_SECONDS": "1",
}


@dataclass(frozen=True)
class Plan:
    """`settings` are those of the service's processes that differ from the defaults."""

    jobs: int
    faults: int
    seed: int
    workers: int
    logs: Path
    settings: Mapping[str, str]


def run(plan: Plan) -> Findings:
    """Raises TimeoutError if the service does not even start."""
    with running(plan.logs, workers=plan.workers, settings=plan.settings) as cluster:
        return Run(plan, cluster).run()


class Run:
    """The parts of a run share what was accepted so far."""

    def __init__(self, plan: Plan, cluster: Cluster) -> None:
        self._plan = plan
        self._cluster = cluster
        self._accepted: defaultdict[str, list[str]] = defaultdict(list)
        self._permits = threading.Semaphore(0)

    def run(self) -> Findings:
        kinds, left_out = faults.possible(self._cluster)
        for reason in left_out:
            self._say(f"left out: {reason}")
        right = self._undisturbed()
        planned = schedule(
            self._plan.seed,
            self._plan.faults,
            kinds=kinds,
            workers=self._plan.workers,
            services=faults.services(self._cluster),
            lease=self._cluster.product_settings().lease_seconds,
        )
        submitter = threading.Thread(target=self._submit_all, name="submitter")
        submitter.start()
        injector = faults.Injector(self._cluster, self._say)
        injector.inject(planned, self._permit_some)
        self._permits.release(self._plan.jobs)
        submitter.join()
        self._say("the faults are over")
        self._wait()
        checks.keep_tables(self._cluster.postgres.url, self._plan.logs)
        store = store_for(self._cluster.product_settings())
        removed = self._sweep_orphans(store)
        self._say(f"{removed} orphans were removed")
        found = checks.examine(self._cluster.postgres.url, store, self._accepted, right, self._cluster.kills)
        found.not_injected += injector.failed
        return found

    def _undisturbed(self) -> Mapping[str, str]:
        """The archive's SHA-256 of each spec, as made before any fault."""
        with Client(self._cluster.url) as client:
            ids = []
            for number, spec in enumerate(jobs.specs()):
                ids.append(jobs.submit(client, f"undisturbed-{number}", spec))
                self._accepted[f"undisturbed-{number}"].append(ids[-1])
            ended = [client.wait(job_id) for job_id in ids]
        right: dict[str, str] = {}
        for job in ended:
            assert job.state is JobState.SUCCEEDED and job.archive is not None, f"undisturbed, {job.id} is {job.failure}"
            right[checks.canonical(job.spec.model_dump(mode="json"))] = job.archive.sha256
        return right

    def _submit_all(self) -> None:
        with Client(self._cluster.url) as client:
            for key, spec in jobs.numbered(self._plan.jobs):
                self._permits.acquire()
                self._accepted[key].append(jobs.submit(client, key, spec))

    def _permit_some(self) -> None:
        """Before each fault: its share of the jobs may be submitted, once there are not too many open ones."""
        wait_until(self._few_unfinished, 600, f"fewer than {MOST_UNFINISHED} open jobs")
        self._permits.release(max(1, self._plan.jobs // max(1, self._plan.faults)))

    def _few_unfinished(self) -> bool:
        try:
            return checks.unfinished(self._cluster.postgres.url) < MOST_UNFINISHED
        except psycopg.OperationalError:  # the server is being restarted
            return False

    def _wait(self) -> None:
        wait_until(self._cluster.ready, 60, "the API after the faults")
        checks.wait_until_all_ended(self._cluster.postgres.url, 300, self._say)

    def _sweep_orphans(self, store: ArtifactStore) -> int:
        database = Database(self._cluster.postgres.url)
        try:
            return sweep_orphans(database, store, grace_seconds=0)
        finally:
            database.dispose()

    def _say(self, text: str) -> None:
        with (self._plan.logs / "run.log").open("a") as log:
            log.write(text + "\n")
        print(text, file=sys.stderr, flush=True)
