"""What many threads do to one database at once."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from app.db import expiry, jobs, leases
from app.db.session import Database
from app.domain.errors import Cancelled, IllegalTransition, JobNotFound, LeaseLost
from app.domain.job import Failure, FailureKind, JobState, Lease, NewTask, Progress, Queue, TaskKind
from app.domain.worker import Claimant
from tests.unit.app.stored import ARTIFACT, SPEC, job_of, states_of, submitted

THREADS = 8
SECONDS = 10.0
LONGEST_SECONDS = 120.0
ACTIONS = 10
PLAN = [
    *(NewTask(TaskKind.SAMPLE, i, {}, 50) for i in range(6)),
    *(NewTask(TaskKind.EVALUATE, i, {}, 3) for i in range(2)),
    NewTask(TaskKind.PACKAGE, 0, {}),
]
CRASH = Failure(FailureKind.CRASHED, "boom")
GONE = (LeaseLost, Cancelled, JobNotFound, IllegalTransition)


class Mischief:
    """One thread that does at random whatever API, workers and sweepers do; all share the list of jobs."""

    def __init__(self, database: Database, seed: int, job_ids: list[str], seen: set[str]) -> None:
        self._database = database
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._job_ids = job_ids
        self._leases: list[Lease] = []
        self._seen = seen
        self.done: Counter[str] = Counter()

    def run(self) -> None:
        """Runs for SECONDS, and on a slow machine until the threads together have done each action once."""
        weights = {
            self.submit: 2, self.claim: 30, self.renew: 8, self.finish: 20, self.fail: 2, self.release: 2,
            self.cancel: 2, self.delete: 1, self.expire: 2, self.forget: 1,
        }  # fmt: skip
        actions = list(weights)
        began = time.monotonic()
        while (past := time.monotonic() - began) < SECONDS or (len(self._seen) < ACTIONS and past < LONGEST_SECONDS):
            action = self._random.choices(actions, list(weights.values()))[0]
            with suppress(*GONE):
                action()
                self.done[action.__name__] += 1
                self._seen.add(action.__name__)

    def submit(self) -> None:
        spec = SPEC.model_copy(update={"priority": self._random.choice([0, 0, 5]), "max_attempts": 3})
        self._job_ids.append(submitted(self._database, spec))

    def claim(self) -> None:
        queues = self._random.choice([frozenset(Queue), frozenset({Queue.GPU}), frozenset({Queue.CPU})])
        claimant = Claimant(f"w{threading.get_ident()}", queues, patience_seconds=self._random.choice([0.0, 30.0]))
        lease = self._call(leases.claim, claimant, self._random.choice([0.01, 60.0]))
        if lease is not None:
            self._leases.append(lease)

    def renew(self) -> None:
        if self._leases:
            self._call(leases.renew, self._random.choice(self._leases), 60.0, Progress(self._random.randrange(50), 50))

    def finish(self) -> None:
        if self._leases:
            lease = self._leases.pop(0)
            finish(self._database, lease)

    def fail(self) -> None:
        if self._leases:
            self._call(leases.fail, self._leases.pop(), CRASH, backoff_seconds=self._random.choice([None, 0.0, 0.001]))

    def release(self) -> None:
        if self._leases:
            self._call(leases.release, self._leases.pop())

    def cancel(self) -> None:
        if self._job_ids:
            self._call(jobs.request_cancel, self._random.choice(self._job_ids[-3:]))

    def delete(self) -> None:
        if self._job_ids:
            self._call(jobs.delete, self._random.choice(self._job_ids))

    def expire(self) -> None:
        self._call(expiry.expire, 0.0)

    def forget(self) -> None:
        """A worker that dies: its leases end, or its machine is stopped."""
        self._leases.clear()
        self._call(self._random.choice([expiry.expire_worker, expiry.release_worker]), f"w{threading.get_ident()}")

    def _call(self, use: Callable[..., Any], *args: Any, **options: Any) -> Any:
        with self._database.transaction() as session:
            return use(session, *args, **options)


def finish(database: Database, lease: Lease) -> int:
    """How many tasks became ready."""
    with database.transaction() as session:
        if lease.task.kind is TaskKind.PACKAGE:
            leases.complete(session, lease, {}, archive=ARTIFACT, preview=ARTIFACT, metrics={})
            return 0
        return len(leases.finish(session, lease, {}, then=PLAN if lease.task.kind is TaskKind.PREPARE else ()))


def claim(database: Database, claimant: Claimant) -> Lease | None:
    with database.transaction() as session:
        return leases.claim(session, claimant, 60.0)


def run_to_the_end(database: Database) -> None:
    """An undisturbed worker does what is left, also what threads above have left running."""
    with database.transaction() as session:
        expiry.release_worker(session, "w")
    while (lease := claim(database, Claimant("last"))) is not None:
        with suppress(LeaseLost, Cancelled):
            finish(database, lease)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [4])
def test_nothing_deadlocks_or_is_lost_whatever_happens_at_once(database: Database, seed: int) -> None:
    job_ids: list[str] = []
    seen: set[str] = set()
    threads = [Mischief(database, seed * 1000 + i, job_ids, seen) for i in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as pool:
        for running in [pool.submit(one.run) for one in threads]:
            running.result()  # raises whatever a thread met: a deadlock is DatabaseUnavailable
    time.sleep(0.1)
    run_to_the_end(database)
    done = sum((one.done for one in threads), Counter[str]())
    states = Counter(job.state for job in left(database, job_ids))
    told = f"seed {seed}: {dict(done)}; {dict(states)}"
    assert all(state.terminal for state in states), told
    assert states[JobState.SUCCEEDED] > 0, told
    assert len(done) == ACTIONS, told
    for job_id in job_ids:
        assert not {"ready", "running", "waiting"} & set(states_of(database, job_id))


def left(database: Database, job_ids: list[str]) -> list[Any]:
    found: list[Any] = []
    for job_id in job_ids:
        with suppress(JobNotFound):
            found.append(job_of(database, job_id))
    return found
