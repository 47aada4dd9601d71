"""The findings of the checks."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    OK = "ok"  # nothing to do
    WARN = "warn"  # worth a look; the service can run
    FAIL = "fail"  # must be repaired


@dataclass(frozen=True)
class Finding:
    """One line of the report: the subject, its state, and what to do unless it is ok."""

    subject: str
    verdict: Verdict
    message: str
    advice: str = ""


def is_sound(findings: Iterable[Finding]) -> bool:
    """Whether no check failed."""
    return all(finding.verdict is not Verdict.FAIL for finding in findings)
