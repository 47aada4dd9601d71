import itertools

import pytest

from app.domain.errors import IllegalTransition
from app.domain.job import (
    TRANSITIONS,
    JobState,
    JobWarning,
    Lease,
    Phase,
    Progress,
    Task,
    TaskKind,
    TaskState,
    WarningCode,
    check_transition,
)
from app.domain.spec.job_spec import DistillationSpec


@pytest.mark.parametrize(("before", "after"), list(itertools.product(JobState, JobState)))
def test_a_job_changes_only_as_the_table_says(before: JobState, after: JobState) -> None:
    if after in TRANSITIONS[before]:
        check_transition(before, after)
    else:
        with pytest.raises(IllegalTransition, match=before):
            check_transition(before, after)


def test_every_state_can_be_reached_and_can_end() -> None:
    reached = {JobState.QUEUED}
    for _ in JobState:
        reached |= {after for before in reached for after in TRANSITIONS[before]}
    assert reached == set(JobState)
    assert {state for state in JobState if state.terminal} == {
        JobState.SUCCEEDED,
        JobState.FAILED,
        JobState.CANCELLED,
        JobState.EXPIRED,
    }


def test_each_kind_of_task_has_its_phase() -> None:
    assert [kind.phase for kind in TaskKind] == list(Phase)


def test_two_attempts_never_write_to_the_same_keys() -> None:
    task = Task("T", "J", TaskKind.SAMPLE, 3, TaskState.RUNNING, 1, {}, Progress(0, 1))
    spec = DistillationSpec(dataset_uri="sklearn://digits", ipc=1)
    prefixes = {Lease(task, spec, token).output_prefix for token in (1, 2)}
    assert prefixes == {"jobs/J/sample-0003/1/", "jobs/J/sample-0003/2/"}


@pytest.mark.parametrize(("code", "expected"), [("of_a_newer_version", False), (WarningCode.CACHE_TOO_SMALL, True)])
def test_a_warning_of_any_version_may_be_asked_whether_it_is_about_the_worker(code: str, expected: bool) -> None:
    assert JobWarning(code, "look here").is_about_the_worker is expected
