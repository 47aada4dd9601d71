"""The progress of a job as one number that never falls.

The share of a task is its units done over its units planned. The share of a phase is the mean over
its tasks. WEIGHTS weighs the phases by their typical duration, because their units (steps,
iterations, files) cannot be compared. `preparing` is the first 2 % of every job, because its other
tasks are not known yet. The other phases of the job divide the rest in proportion to their weights.

The sum cannot fall. The database never lowers a task's share when it retries the task, and it
inserts all later tasks at once when `preparing` ends.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.job import NewTask, Phase

PREPARING_SHARE = 0.02
WEIGHTS: Mapping[Phase, float] = {Phase.SAMPLING: 10.0, Phase.EVALUATING: 10.0, Phase.PACKAGING: 0.5}


@dataclass(frozen=True)
class PhaseTally:
    """The tasks of one phase, summed. `share` is the mean of done/total over them, 0 to 1."""

    phase: Phase
    tasks_done: int
    tasks_total: int
    done: int
    total: int
    share: float


def untouched(task: NewTask) -> PhaseTally:
    """The tally of a phase whose only task has not started."""
    return PhaseTally(task.kind.phase, tasks_done=0, tasks_total=1, done=0, total=task.total, share=0.0)


def fraction(tallies: Sequence[PhaseTally]) -> float:
    """The fraction of the whole job that is done, 0 to 1."""
    later = [tally for tally in tallies if tally.phase in WEIGHTS]
    whole = sum(WEIGHTS[tally.phase] for tally in later)
    rest = sum(WEIGHTS[tally.phase] * tally.share for tally in later) / whole if whole else 0.0
    prepared = sum(tally.share for tally in tallies if tally.phase is Phase.PREPARING)
    return min(1.0, PREPARING_SHARE * prepared + (1 - PREPARING_SHARE) * rest)
