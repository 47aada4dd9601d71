import pytest

from app.db import events, jobs
from app.db.jobs import Filters
from app.db.session import Database
from app.domain.errors import IllegalTransition, JobNotFound
from app.domain.job import JobState, Phase
from app.domain.progress import PhaseTally
from tests.unit.app.stored import SPEC, claimed, job_of, prepared, states_of, submitted, succeeded


def listed(database: Database, limit: int = 10, cursor: str | None = None, **wanted: str) -> tuple[list[str], str | None]:
    with database.reading() as session:
        found, following = jobs.page(session, Filters(**wanted), limit=limit, cursor=cursor)  # type: ignore[arg-type]
        return [job.id for job in found], following


def cancel(database: Database, job_id: str) -> JobState:
    with database.transaction() as session:
        return jobs.request_cancel(session, job_id).state


def test_a_job_is_stored_as_it_was_asked_for(database: Database) -> None:
    job = job_of(database, submitted(database))
    assert (job.spec, job.state, job.version, job.started_at) == (SPEC, JobState.QUEUED, 1, None)


def test_pages_follow_each_other_without_gap_while_jobs_arrive(database: Database) -> None:
    ids = [submitted(database) for _ in range(5)]
    first, cursor = listed(database, limit=2)
    submitted(database)
    second, cursor_2 = listed(database, limit=2, cursor=cursor)
    third, end = listed(database, limit=2, cursor=cursor_2)
    assert first + second + third == ids[::-1]
    assert end is None


def test_jobs_are_filtered_by_state_dataset_and_backbone(database: Database) -> None:
    other = submitted(database, SPEC.model_copy(update={"dataset_uri": "file:///x", "backbone": "b"}))
    claimed(database)
    plain = submitted(database)
    assert listed(database, state="queued")[0] == [plain]
    assert listed(database, dataset_uri="file:///x")[0] == [other]
    assert listed(database, backbone="b", state="queued")[0] == []


def test_an_unknown_job_is_named(database: Database) -> None:
    with pytest.raises(JobNotFound, match="nobody"):
        job_of(database, "nobody")


def test_a_queued_job_is_cancelled_at_once(database: Database) -> None:
    job_id = submitted(database)
    assert cancel(database, job_id) is JobState.CANCELLED
    assert states_of(database, job_id) == ["cancelled"]


def test_a_running_job_waits_for_its_tasks_to_stop(database: Database) -> None:
    job_id = prepared(database, samples=2)
    claimed(database)
    assert cancel(database, job_id) is JobState.CANCELLING
    assert states_of(database, job_id) == ["succeeded", "running", "cancelled", "cancelled"]


def test_a_running_job_without_running_tasks_is_cancelled_at_once(database: Database) -> None:
    job_id = prepared(database)
    assert cancel(database, job_id) is JobState.CANCELLED
    with database.reading() as session:
        assert [event.type for event in events.after(session, job_id, 0)][-2:] == ["job.cancelling", "job.cancelled"]


def test_cancelling_again_changes_nothing(database: Database) -> None:
    job_id = prepared(database)
    claimed(database)
    assert cancel(database, job_id) is JobState.CANCELLING
    before = job_of(database, job_id)
    assert cancel(database, job_id) is JobState.CANCELLING
    assert job_of(database, job_id) == before


def test_a_job_that_has_succeeded_cannot_be_cancelled(database: Database) -> None:
    job_id = succeeded(database)
    with pytest.raises(IllegalTransition, match="succeeded"):
        cancel(database, job_id)


def test_only_jobs_that_have_ended_are_deleted_with_all_their_rows(database: Database) -> None:
    running, ended = submitted(database), submitted(database)
    cancel(database, ended)
    with pytest.raises(IllegalTransition, match="queued"), database.transaction() as session:
        jobs.delete(session, running)
    with database.transaction() as session:
        jobs.delete(session, ended)
    assert listed(database)[0] == [running]
    assert states_of(database, ended) == []
    with database.reading() as session:
        assert events.after(session, ended, 0) == []


def test_progress_is_tallied_by_phase_in_order(database: Database) -> None:
    running, queued = prepared(database, samples=4, evaluations=1), submitted(database)
    with database.reading() as session:
        tallies = jobs.progress(session, [queued, running])
    assert [tally.phase for tally in tallies[queued]] == [Phase.PREPARING]
    assert [tally.phase for tally in tallies[running]] == list(Phase)
    assert tallies[running][1] == PhaseTally(Phase.SAMPLING, tasks_done=0, tasks_total=4, done=0, total=200, share=0.0)


def test_events_resume_after_an_id(database: Database) -> None:
    job_id = prepared(database)
    with database.reading() as session:
        everything = events.after(session, job_id, 0)
        assert events.after(session, job_id, everything[1].id) == everything[2:]
        assert events.after(session, job_id, 0, limit=2) == everything[:2]
