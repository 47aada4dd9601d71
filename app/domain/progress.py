"""How far a job is, as one number that never falls.

Each task counts by the share of its units done, each phase by the mean share of its tasks, and the phases by WEIGHTS,
which follow how long they typically last (their units cannot be compared: steps, iterations, files). `preparing` is the
first 2 % of every job, known graph or not; the others share the rest in proportion to the weights of those the job has.
The database keeps a task's share from falling when the task is tried again, and all tasks appear at once when
`preparing` ends, so the sum cannot fall either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.job import NewTask, Phase

PREPARING_SHARE = 0.02
WEIGHTS: Mapping[Phase, float] = {Phase.SAMPLING: 10.0, Phase.EVALUATING: 10.0, Phase.PACKAGING: 0.5}


@dataclass(frozen=True)
class PhaseTally:
    """The tasks of one phase, added up: `share` is the mean of done/total over them, 0 to 1."""

    phase: Phase
    tasks_done: int
    tasks_total: int
    done: int
    total: int
    share: float


def untouched(task: NewTask) -> PhaseTally:
    """The tally of a phase whose only task has not begun."""
    return PhaseTally(task.kind.phase, tasks_done=0, tasks_total=1, done=0, total=task.total, share=0.0)


def fraction(tallies: Sequence[PhaseTally]) -> float:
    """The share of the whole job's work that is done, 0 to 1."""
    later = [tally for tally in tallies if tally.phase in WEIGHTS]
    whole = sum(WEIGHTS[tally.phase] for tally in later)
    rest = sum(WEIGHTS[tally.phase] * tally.share for tally in later) / whole if whole else 0.0
    prepared = sum(tally.share for tally in tallies if tally.phase is Phase.PREPARING)
    return min(1.0, PREPARING_SHARE * prepared + (1 - PREPARING_SHARE) * rest)
