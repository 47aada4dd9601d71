"""What is particular to several workers and a broker."""

import signal
import time
from collections.abc import Callable, Generator
from pathlib import Path

import psutil
import pytest

from app.domain.job import JobState, Outcome, TaskKind
from tests.databases import PostgresServer
from tests.e2e.distributed import Distributed, why_not_distributed
from tests.e2e.service import archive_digest, in_the_middle_of_sampling, pid_of, succeeded
from tests.e2e.test_service import ENDLESS, SPEC, STEP_SECONDS
from tests.servers.brokers import skip_without
from tests.waiting import wait_long

pytestmark = [pytest.mark.postgres, pytest.mark.redis]

# A task per class, and arms to evaluate.
WIDE = SPEC | {
    "ipc": 20,
    "classes": ["0", "1", "2", "3"],
    "sampling": {"steps": 4},
    "evaluation": {"training_seeds": 1, "arms": ["guided", "unguided", "random_real"]},
}
DEFAULT_LEASE = {"DAPPLE_LEASE_SECONDS": "30", "DAPPLE_HEARTBEAT_SECONDS": "10"}

NewService = Callable[..., Distributed]


@pytest.fixture
def new(tmp_path: Path, request: pytest.FixtureRequest) -> Generator[NewService]:
    """new(*queues, **environment) is a service with a worker for each, running."""
    skip_without(why_not_distributed())
    started: list[Distributed] = []

    def start(*queues: str, **environment: str) -> Distributed:
        postgres: PostgresServer = request.getfixturevalue("postgres")
        started.append(Distributed(tmp_path / "service", postgres, queues=queues, **environment))
        started[-1].start()
        return started[-1]

    yield start
    for service in started:
        service.terminate()


@pytest.mark.slow
def test_one_two_and_four_workers_make_the_same_bytes(new: NewService):
    service = new("gpu,cpu")
    digests = {archive_digest(service.client, WIDE)}
    for workers in (2, 4):
        while len(service.workers) < workers:
            service.add_worker()
        service.wait_for_workers(workers)
        digests.add(archive_digest(service.client, WIDE))
    assert len(digests) == 1

    newest = next(iter(service.client.list()))
    names = {attempt.worker for attempt in service.client.attempts(newest.id)}
    assert len(names) > 1


def test_a_worker_takes_only_tasks_of_the_queues_it_was_started_with(new: NewService):
    service = new("cpu")
    job = service.client.submit(SPEC)
    wait_long(lambda: any(task.kind is TaskKind.SAMPLE for task in service.client.tasks(job.id)))
    small = service.client.workers()[0].name
    assert [attempt.kind for attempt in service.client.attempts(job.id)] == [TaskKind.PREPARE]

    service.add_worker("gpu")

    ended = succeeded(service.client, job.id)
    by_kind = {attempt.kind: attempt.worker for attempt in service.client.attempts(ended.id)}
    assert (by_kind[TaskKind.PREPARE], by_kind[TaskKind.PACKAGE]) == (small, small)
    assert by_kind[TaskKind.SAMPLE] != small


def test_a_worker_that_is_told_to_stop_gives_its_task_to_another_within_seconds(new: NewService):
    service = new("gpu,cpu", "gpu,cpu")
    job = service.client.submit(ENDLESS)
    in_the_middle_of_sampling(service.client, job.id)
    stopped = service.worker_of(job.id)
    process = psutil.Process(pid_of(stopped))
    asked = time.monotonic()

    process.send_signal(signal.SIGTERM)

    process.wait(timeout=30)
    assert time.monotonic() - asked < STEP_SECONDS + 5
    assert stopped.name not in {worker.name for worker in service.client.workers()}
    wait_long(lambda: service.worker_of(job.id).name != stopped.name)
    first, *rest = [one for one in service.client.attempts(job.id) if one.kind is TaskKind.SAMPLE]
    assert (first.outcome, len(rest)) == (Outcome.RELEASED, 1)
    service.client.cancel(job.id)


def test_without_redis_jobs_are_taken_and_start_after_its_return(new: NewService):
    service = new("gpu,cpu", **DEFAULT_LEASE)
    service.redis.stop()
    asked = time.monotonic()

    job = service.client.submit(SPEC)

    assert time.monotonic() - asked < 4
    service.redis.start()
    returned = time.monotonic()
    wait_long(lambda: service.client.get(job.id).state is not JobState.QUEUED)
    assert time.monotonic() - returned < 60
    succeeded(service.client, job.id)


def test_an_emptied_redis_loses_no_job(new: NewService):
    service = new("gpu,cpu")
    busy = service.client.submit(ENDLESS)
    in_the_middle_of_sampling(service.client, busy.id)
    waiting = service.client.submit(SPEC)

    service.redis.flush()
    service.client.cancel(busy.id)

    succeeded(service.client, waiting.id)
