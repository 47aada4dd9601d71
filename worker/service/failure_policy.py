"""What an error means to the user, and whether the task is tried again.

No other place decides about retries.
"""

from dataclasses import dataclass

import torch

from app.domain.errors import (
    BackboneRejected,
    BackboneUnavailable,
    DatasetRejected,
    DeviceOutOfMemory,
    InvalidSpec,
    PermanentError,
    StorageUnavailable,
    TimedOut,
    TransientError,
)
from app.domain.job import Failure, FailureKind
from app.settings import Settings

UNRECORDED = Failure(
    FailureKind.INTERNAL, "the task failed, and the reason could not be recorded; the worker's log has the details"
)


@dataclass(frozen=True)
class RetryDecision:
    """The failure as the user sees it, and how long to wait before the task is tried again (None:
    it is not).
    """

    failure: Failure
    backoff_seconds: float | None


def decide(error: Exception, settings: Settings) -> RetryDecision:
    """What to do about an error of a stage.

    Every error that may pass is tried again, up to the attempts of the job.
    """
    failure, retry = classify_failure(error)
    outage = isinstance(error, StorageUnavailable)
    backoff = settings.outage_backoff_seconds if outage else settings.retry_backoff_seconds
    return RetryDecision(failure, backoff if retry else None)


def classify_failure(error: Exception) -> tuple[Failure, bool]:
    """What an error of a stage means to the user, and whether another attempt may succeed."""
    match error:
        case InvalidSpec() | DatasetRejected() | BackboneRejected():
            return Failure(FailureKind.INVALID_INPUT, str(error)), False
        case DeviceOutOfMemory() | torch.OutOfMemoryError() | MemoryError():
            return Failure(FailureKind.OUT_OF_MEMORY, str(error) or "out of memory"), True
        case RuntimeError() if "DefaultCPUAllocator" in str(error):  # torch raises this instead on the CPU
            return Failure(FailureKind.OUT_OF_MEMORY, "out of memory"), True
        case TimedOut():
            return Failure(FailureKind.TIMEOUT, str(error)), True
        case TransientError() | BackboneUnavailable():
            return Failure(FailureKind.DEPENDENCY, str(error)), True
        case OSError() if error.strerror:  # a full disk or a missing file: the fault of the machine, and it may pass
            return Failure(FailureKind.DEPENDENCY, f"the worker's machine: {error.strerror}"), True
        case PermanentError():
            return Failure(FailureKind.INTERNAL, str(error)), False
        case _:
            text = f"an error of the service ({type(error).__name__}); its log has the details"
            return Failure(FailureKind.INTERNAL, text), False
