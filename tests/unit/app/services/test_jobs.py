from concurrent.futures import ThreadPoolExecutor

import pytest

from app.db import jobs
from app.domain.errors import IdempotencyKeyReused, IllegalTransition, InvalidSpec, JobNotFound
from app.domain.job import JobState, Queue
from app.domain.spec.job_spec import DistillationSpec
from app.services.jobs import cancel, delete, submit
from app.services.resources import Resources
from tests.unit.app.stored import RecordingQueue, claimed, job_of, states_of

SPEC = DistillationSpec(dataset_uri="sklearn://digits", ipc=1, backbone="tiny")


def count(resources: Resources) -> int:
    with resources.database.reading() as session:
        return len(jobs.page(session, jobs.Filters(), limit=100)[0])


def test_a_submitted_job_is_stored_with_its_first_task_and_then_wakes_a_worker(resources: Resources) -> None:
    job = submit(resources, SPEC)
    assert states_of(resources.database, job.id) == ["ready"]
    assert isinstance(resources.queue, RecordingQueue)
    assert resources.queue.woken == [(Queue.CPU, 1)]


def test_what_cannot_run_is_not_stored(resources: Resources) -> None:
    with pytest.raises(InvalidSpec):
        submit(resources, SPEC.model_copy(update={"backbone": "none such"}))
    assert count(resources) == 0


def test_the_same_key_and_spec_are_the_same_job(resources: Resources) -> None:
    assert submit(resources, SPEC, "k").id == submit(resources, SPEC, "k").id
    assert submit(resources, SPEC, "other").id != submit(resources, SPEC).id
    assert count(resources) == 3


def test_one_job_comes_of_many_requests_with_one_key(resources: Resources) -> None:
    with ThreadPoolExecutor(4) as pool:
        ids = set(pool.map(lambda _: submit(resources, SPEC, "k").id, range(8)))
    assert len(ids) == count(resources) == 1


def test_a_key_is_not_good_for_another_spec(resources: Resources) -> None:
    job = submit(resources, SPEC, "k")
    with pytest.raises(IdempotencyKeyReused, match=job.id):
        submit(resources, SPEC.model_copy(update={"seed": 1}), "k")


def test_a_replay_needs_no_dataset_any_more(resources: Resources) -> None:
    root = resources.settings.dataset_roots[0]
    (root / "0").mkdir()
    (root / "0" / "1.png").touch()
    spec = SPEC.model_copy(update={"dataset_uri": root.as_uri()})
    job = submit(resources, spec, "k")
    (root / "0" / "1.png").unlink()
    assert submit(resources, spec, "k") == job


def test_cancelling_and_deleting_leave_nothing(resources: Resources) -> None:
    job = submit(resources, SPEC)
    file = resources.settings.data_dir / "x"
    file.touch()
    resources.store.put(f"jobs/{job.id}/a", file, "text/plain")
    assert cancel(resources, job.id).state is JobState.CANCELLED
    delete(resources, job.id)
    assert list(resources.store.keys("")) == []
    with pytest.raises(JobNotFound):
        job_of(resources.database, job.id)


def test_a_job_that_runs_is_not_deleted(resources: Resources) -> None:
    job = submit(resources, SPEC)
    claimed(resources.database)
    with pytest.raises(IllegalTransition, match="running"):
        delete(resources, job.id)
