"""The tree of errors. `app/api/errors.py` maps it to HTTP; `worker/service/failure_policy.py` decides about retries."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.text import printable_lines


class DappleError(Exception):
    """Root of every error that Dapple raises on purpose; its text is meant for the user, and safe to store and to print."""

    def __init__(self, *words: object) -> None:
        super().__init__(*(printable_lines(word) if isinstance(word, str) else word for word in words))


@dataclass(frozen=True)
class FieldProblem:
    """What is wrong with one field of the input; `field` is a dotted path such as `guidance.scale`."""

    field: str
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "field", printable_lines(self.field))
        object.__setattr__(self, "message", printable_lines(self.message))


class InvalidSpec(DappleError):
    """The job as asked cannot run; every problem names the field to change."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{problem.field}: {problem.message}" for problem in self.problems))

    @classmethod
    def of(cls, field: str, message: str) -> "InvalidSpec":
        return cls([FieldProblem(field, message)])


class DatasetRejected(DappleError):
    """The dataset was read and is unusable; the text names the file or the class."""


class BackboneUnavailable(DappleError):
    """A file of the backbone is missing, or cannot be read, now: it may still be on its way."""


class BackboneRejected(BackboneUnavailable):
    """The backbone's files are there and cannot be used, or not as the service is set; the text names file and field."""


class JobNotFound(DappleError):
    """No job with this id."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"no job {job_id!r}")


class ArtifactNotReady(DappleError):
    """The job has not produced this output (yet, or at all)."""


class IllegalTransition(DappleError):
    """The job's or task's state does not allow this."""


class IdempotencyKeyReused(DappleError):
    """The key came before with a different body."""


class SamplesDamaged(DappleError):
    """Images that sample tasks have stored under `keys` are missing or are not what was stored; they are sampled again."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = tuple(keys)
        super().__init__(f"the stored images of {len(self.keys)} sample tasks are missing or damaged")


class LeaseLost(DappleError):
    """Another attempt owns the task now; this one must stop and write nothing."""


class Cancelled(DappleError):
    """The user asked for this job to stop."""


class TransientError(DappleError):
    """May succeed when tried again."""


class TimedOut(TransientError):
    """A try at a task took too long, or showed no progress for too long."""


class StorageUnavailable(TransientError):
    """The artifact store did not answer, or its disk is full."""


class DatabaseUnavailable(TransientError):
    """The database did not answer, stayed locked, or its disk is full.

    `reason` is for operators: in the driver's words, which may name hosts and users, though no password.
    """

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or message


class DeviceOutOfMemory(TransientError):
    """The device ran out of memory, even for the images of one class."""


class PermanentError(DappleError):
    """Will fail the same way again; never retried."""


class ArtifactDamaged(PermanentError):
    """A stored output is gone, or is not the file that was stored."""


class WrongSettings(PermanentError):
    """The environment sets something that cannot be; `faults` are pairs of a variable and what is wrong with it."""

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{variable}: {fault}" for variable, fault in self.faults))
