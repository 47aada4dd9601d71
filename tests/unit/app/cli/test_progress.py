import io

from rich.console import Console

from app.cli.progress import JobProgress
from app.client.job_status import JobStatus
from app.domain.job import JobState, Phase
from app.schemas import PhaseProgress, ProgressView


def sampling(done: int, total: int = 100) -> JobStatus:
    phase = PhaseProgress(phase=Phase.SAMPLING, tasks_done=0, tasks_total=1, done=done, total=total)
    return JobStatus(JobState.RUNNING, Phase.SAMPLING, ProgressView(fraction=done / total, phases=(phase,)))


def test_without_a_terminal_each_tenth_is_one_line():
    written = io.StringIO()

    with JobProgress(Console(file=written, width=80)) as progress:
        for done in (1, 2, 3, 11, 12, 29):
            progress.show(sampling(done))

    assert written.getvalue().splitlines() == ["  1% sampling 1/100", " 11% sampling 11/100", " 29% sampling 29/100"]


def test_on_a_terminal_every_phase_has_a_bar():
    written = io.StringIO()

    with JobProgress(Console(file=written, width=80, force_terminal=True)) as progress:
        progress.show(sampling(50))

    assert "whole job" in written.getvalue()
    assert "50/100" in written.getvalue()
