"""Progress of a job: one bar per phase on a terminal, one line per tenth elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app.client.job_status import JobStatus
from app.domain.job import Phase

WHOLE = "whole job"


class JobProgress:
    """Shows the job last given to `show` until the block ends."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<11}"),
            BarColumn(),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._console = console
        self._ids: dict[str, TaskID] = {}
        self._announced: tuple[Phase | None, int] | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    def show(self, job: JobStatus) -> None:
        """Update the display to this job."""
        if self._bars.disable:
            self._announce(job)
            return
        self._move(WHOLE, round(100 * job.progress.fraction), 100, started=True)
        for phase in job.progress.phases:
            self._move(phase.phase, phase.done, phase.total, started=phase.done > 0 or phase.phase is job.phase)

    def _move(self, name: str, done: int, total: int, *, started: bool) -> None:
        if name not in self._ids:
            self._ids[name] = self._bars.add_task(name, start=False, total=total)
        if started:
            self._bars.start_task(self._ids[name])
        self._bars.update(self._ids[name], completed=done, total=total)

    def _announce(self, job: JobStatus) -> None:
        """Print a line for each new phase and each further tenth."""
        place = (job.phase, int(10 * job.progress.fraction))
        if job.phase is None or place == self._announced:
            return
        self._announced = place
        units = next((f" {phase.done}/{phase.total}" for phase in job.progress.phases if phase.phase is job.phase), "")
        self._console.print(f"{job.progress.fraction:4.0%} {job.phase}{units}")
