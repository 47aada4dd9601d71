"""What a look at an installation found."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was looked at, how it is, and what to do unless it is ok."""

    subject: str
    verdict: Verdict
    message: str
    advice: str = ""


def is_sound(findings: Iterable[Finding]) -> bool:
    """Whether nothing failed."""
    return all(finding.verdict is not Verdict.FAIL for finding in findings)
