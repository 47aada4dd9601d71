"""Counters that only grow: attempts and jobs by how they ended.

They cover every process, and include deleted jobs and their attempts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.db.tables import TotalRow
from app.domain.job import Failure, FailureKind, JobState, Outcome, TaskKind

ATTEMPTS, JOBS = "attempts", "jobs"
NO_FAILURE = ""
FOLD_ABOVE = 500  # rows; a scrape reads all of them


@dataclass(frozen=True)
class Totals:
    """The counts of every possible ending, zeros included.

    The last part of each key is the failure's kind, or "".
    """

    attempts: Mapping[tuple[TaskKind, Outcome, str], int]
    jobs: Mapping[tuple[JobState, str], int]


def count_attempt(session: Session, kind: str, outcome: Outcome, failure: Failure | None) -> None:
    _add(session, ATTEMPTS, kind, outcome.value, failure)


def count_job(session: Session, state: JobState, failure: Failure | None) -> None:
    _add(session, JOBS, "", state.value, failure)


def read(session: Session) -> Totals:
    """All counters, from one statement."""
    names = (TotalRow.subject, TotalRow.kind, TotalRow.outcome, TotalRow.failure)
    found = {tuple(row[:4]): int(row[4]) for row in session.execute(select(*names, func.sum(TotalRow.count)).group_by(*names))}
    attempts = {
        (kind, outcome, failure): found.get((ATTEMPTS, kind.value, outcome.value, failure), 0)
        for kind in TaskKind
        for outcome, failure in _ATTEMPTS_END
    }
    return Totals(attempts, {(state, failure): found.get((JOBS, "", state.value, failure), 0) for state, failure in _JOBS_END})


def fold(session: Session) -> int:
    """Merge the rows of each counter into one, unless they are few; return how many rows went away.

    Several processes may fold at once, because each adds up only the rows that it has removed
    itself.
    """
    if (session.scalar(select(func.count()).select_from(TotalRow)) or 0) <= FOLD_ABOVE:
        return 0
    names = (TotalRow.subject, TotalRow.kind, TotalRow.outcome, TotalRow.failure)
    removed = session.execute(delete(TotalRow).returning(*names, TotalRow.count)).all()
    sums: dict[tuple[str, str, str, str], int] = {}
    for subject, kind, outcome, failure, count in removed:
        key = (subject, kind, outcome, failure)
        sums[key] = sums.get(key, 0) + count
    for (subject, kind, outcome, failure), count in sums.items():
        session.add(TotalRow(subject=subject, kind=kind, outcome=outcome, failure=failure, count=count))
    return len(removed) - len(sums)


def _add(session: Session, subject: str, kind: str, outcome: str, failure: Failure | None) -> None:
    failed = failure.kind.value if failure else NO_FAILURE
    session.add(TotalRow(subject=subject, kind=kind, outcome=outcome, failure=failed, count=1))


_FAILURES = tuple(kind.value for kind in FailureKind)
_ATTEMPTS_END = (
    *((outcome, NO_FAILURE) for outcome in (Outcome.SUCCEEDED, Outcome.CANCELLED, Outcome.RELEASED)),
    *((Outcome.FAILED, failure) for failure in _FAILURES),
    (Outcome.EXPIRED, FailureKind.CRASHED.value),
)
_JOBS_END = (
    (JobState.SUCCEEDED, NO_FAILURE),
    (JobState.CANCELLED, NO_FAILURE),
    *((JobState.FAILED, failure) for failure in _FAILURES),
    (JobState.EXPIRED, FailureKind.TIMEOUT.value),
)
