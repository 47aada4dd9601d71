"""The tree of errors.

`app/api/errors.py` maps it to HTTP; `worker/service/failure_policy.py` decides about retries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.text import printable_lines


class DappleError(Exception):
    """Root of every error that Dapple raises. Its message is for the user; it is safe to print."""

    def __init__(self, *words: object) -> None:
        super().__init__(*(printable_lines(word) if isinstance(word, str) else word for word in words))


@dataclass(frozen=True)
class FieldProblem:
    """A fault of one input field. `field` is a dotted path such as `guidance.scale`."""

    field: str
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "field", printable_lines(self.field))
        object.__setattr__(self, "message", printable_lines(self.message))


class InvalidSpec(DappleError):
    """The job cannot run with this spec. Each problem names the field to change."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{problem.field}: {problem.message}" for problem in self.problems))

    @classmethod
    def of(cls, field: str, message: str) -> "InvalidSpec":
        return cls([FieldProblem(field, message)])


class DatasetRejected(DappleError):
    """The dataset is unusable. The message names the file or the class."""


class BackboneUnavailable(DappleError):
    """A file of the backbone is missing or unreadable. A copy may still be in progress."""


class BackboneRejected(BackboneUnavailable):
    """The backbone's files are complete but cannot be used, or not with the service's settings.

    The message names the file and the field.
    """


class JobNotFound(DappleError):
    """No job with this id."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"no job {job_id!r}")


class ArtifactNotReady(DappleError):
    """The job has not produced this output (yet, or at all)."""


class IllegalTransition(DappleError):
    """The job's or task's state does not allow this."""


class IdempotencyKeyReused(DappleError):
    """An earlier request used the key with a different body."""


class SamplesDamaged(DappleError):
    """Stored images of sample tasks, at `keys`, are missing or damaged; the tasks run again."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = tuple(keys)
        super().__init__(f"the stored images of {len(self.keys)} sample tasks are missing or damaged")


class LeaseLost(DappleError):
    """This attempt no longer owns the task. It must stop and write nothing."""


class Cancelled(DappleError):
    """The user asked for this job to stop."""


class TransientError(DappleError):
    """A retry may succeed."""


class TimedOut(TransientError):
    """An attempt exceeded its time limit, or made no progress for too long."""


class StorageUnavailable(TransientError):
    """The artifact store does not answer, or its disk is full."""


class DatabaseUnavailable(TransientError):
    """The database does not answer, stays locked, or its disk is full.

    `reason` is the driver's message, for operators. It may name hosts and users, but no password.
    """

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or message


class DeviceOutOfMemory(TransientError):
    """The device ran out of memory, even for the images of one class."""


class PermanentError(DappleError):
    """A retry would fail in the same way, so there is none."""


class ArtifactDamaged(PermanentError):
    """A stored output is missing, changed, not a plain file, or unreadable on its disk."""


class WrongSettings(PermanentError):
    """Environment variables have invalid values. `faults` pairs each variable with its fault."""

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{variable}: {fault}" for variable, fault in self.faults))
