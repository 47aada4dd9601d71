from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.db import jobs, leases
from app.db.session import Database
from app.domain.job import FailureKind, JobState, JobWarning, WarningCode
from app.domain.spec.guidance import Guidance
from app.domain.worker import Claimant
from app.services.resources import Resources
from tests.unit.app.stored import SPEC, claimed, job_of, states_of, submitted

NEWER = [{"colour": "blue"}, {"kernel": "cubic"}, {"guidance": {"objective": "wasserstein"}}, {"evaluation": {"arms": ["x"]}}]
BROKEN = [{"ipc": 0}, {"guidance": {"start": 1.0, "stop": 0.5, "tap": {"block": 1}}}, {"class_map": {"a": []}}]


def stored_as(database: Database, changes: dict[str, Any], *, without: tuple[str, ...] = ()) -> str:
    """Id of a queued job whose stored spec was changed so."""
    job_id = submitted(database)
    with database.transaction() as session:
        row = jobs.lock(session, job_id)
        row.spec = {name: value for name, value in {**row.spec, **changes}.items() if name not in without}
    return job_id


@pytest.mark.parametrize("changes", NEWER)
def test_jobs_of_a_newer_version_are_left_to_it_and_block_no_others(database: Database, changes: dict[str, Any]) -> None:
    others = [stored_as(database, changes) for _ in range(12)]
    ours = submitted(database)
    assert claimed(database).task.job_id == ours
    assert [(job_of(database, other).state, states_of(database, other)) for other in others] == [
        (JobState.QUEUED, ["ready"])
    ] * 12


@pytest.mark.parametrize("changes", BROKEN)
def test_a_job_that_no_version_can_read_fails_and_blocks_no_others(database: Database, changes: dict[str, Any]) -> None:
    broken, ours = stored_as(database, changes), submitted(database)
    assert claimed(database).task.job_id == ours
    job = job_of(database, broken)
    assert (job.state, states_of(database, broken)) == (JobState.FAILED, ["failed"])
    assert job.failure is not None
    assert job.failure.kind is FailureKind.INTERNAL
    assert next(iter(changes)) in job.failure.message
    with database.transaction() as session:
        assert leases.claim(session, Claimant("w"), 60) is None


@pytest.mark.parametrize("changes", [*NEWER, *BROKEN])
def test_such_jobs_can_be_looked_at(client: TestClient, resources: Resources, changes: dict[str, Any]) -> None:
    job_id = stored_as(resources.database, changes)
    assert client.get(f"/v1/jobs/{job_id}").json()["spec"]["dataset_uri"] == SPEC.dataset_uri
    assert [one["id"] for one in client.get("/v1/jobs").json()["items"]] == [job_id]


def test_what_is_valid_in_a_job_is_shown_and_what_is_not_shows_its_default(database: Database) -> None:
    guidance = {"objective": "wasserstein", "scale": 2.0, "tap": {"block": 1}}
    spec = job_of(database, stored_as(database, {"guidance": guidance, "seed": 7}, without=("ipc",))).spec
    assert (spec.guidance, spec.seed, spec.dataset_uri, spec.ipc) == (Guidance(scale=2.0), 7, SPEC.dataset_uri, 0)


def test_a_warning_of_a_newer_version_is_kept_and_shown(client: TestClient, resources: Resources) -> None:
    job_id = submitted(resources.database)
    newer = {"code": "of_a_newer_version", "message": "look here"}
    with resources.database.transaction() as session:
        row = jobs.lock(session, job_id)
        row.warnings = [newer]
        jobs.warn(session, row, [JobWarning(WarningCode.LOW_COVERAGE, "noise")])
    expected = [newer, {"code": "low_coverage", "message": "noise"}]
    assert client.get(f"/v1/jobs/{job_id}").json()["warnings"] == expected
    assert client.get("/v1/jobs").json()["items"][0]["warnings"] == expected
