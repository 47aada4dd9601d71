"""The status of a job, updated from its event stream without further requests."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from app.domain.job import JobState, Phase
from app.schemas import ProgressView

NOTHING_DONE = ProgressView(fraction=0.0, phases=())


@dataclass(frozen=True)
class JobStatus:
    """A job's state, phase and progress."""

    state: JobState = JobState.QUEUED
    phase: Phase | None = None
    progress: ProgressView = NOTHING_DONE

    def after(self, event_type: str, body: Mapping[str, Any]) -> "JobStatus":
        """The status after an event; one that this version does not know changes nothing."""
        with suppress(ValueError, KeyError):
            match event_type:
                case "progress":
                    return replace(self, progress=ProgressView.model_validate(body))
                case "job.phase":
                    return replace(self, phase=Phase(body["phase"]))
                case _ if event_type.startswith("job."):
                    state = JobState(event_type.removeprefix("job."))
                    return replace(self, state=state, phase=None if state.terminal else self.phase)
                case _:
                    pass
        return self
