import pytest

from app.client.job_status import JobStatus
from app.domain.job import JobState, Phase

RUNNING = JobStatus(JobState.RUNNING, Phase.SAMPLING)


def test_progress_carries_all_that_is_shown():
    phase = {"phase": "sampling", "tasks_done": 1, "tasks_total": 2, "done": 50, "total": 100}
    status = RUNNING.after("progress", {"fraction": 0.25, "phases": [phase]})
    assert (status.progress.fraction, status.progress.phases[0].done, status.phase) == (0.25, 50, Phase.SAMPLING)


@pytest.mark.parametrize("state", JobState)
def test_the_event_of_a_state_is_the_state(state: JobState):
    status = RUNNING.after(f"job.{state}", {})
    assert (status.state, status.phase) == (state, None if state.terminal else Phase.SAMPLING)


@pytest.mark.parametrize(
    ("event_type", "body"),
    [
        ("job.paused", {}),
        ("job.warning", {"code": "low_coverage", "message": "noise"}),
        ("job.phase", {"phase": "polishing"}),
        ("job.phase", {}),
        ("task.started", {"kind": "sample"}),
        ("progress", {"fraction": 0.5, "phases": [{"phase": "polishing", "tasks_done": 0}]}),
        ("message", {}),
    ],
)
def test_what_a_newer_service_tells_changes_nothing(event_type: str, body: dict[str, object]):
    assert RUNNING.after(event_type, body) == RUNNING
