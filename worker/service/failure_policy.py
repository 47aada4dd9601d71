"""What an exception of a stage means: to the user, and for trying again."""

import torch

from app.domain.errors import (
    BackboneRejected,
    BackboneUnavailable,
    DatasetRejected,
    DeviceOutOfMemory,
    InvalidSpec,
    PermanentError,
    TimedOut,
    TransientError,
)
from app.domain.job import Failure, FailureKind

UNRECORDED = Failure(FailureKind.INTERNAL, "the task failed, and why could not be recorded; the worker's log has the details")


def classify_failure(error: Exception) -> tuple[Failure, bool]:
    """What an exception of a stage means to the user, and whether trying again may help."""
    match error:
        case InvalidSpec() | DatasetRejected() | BackboneRejected():
            return Failure(FailureKind.INVALID_INPUT, str(error)), False
        case DeviceOutOfMemory() | torch.OutOfMemoryError() | MemoryError():
            return Failure(FailureKind.OUT_OF_MEMORY, str(error) or "out of memory"), True
        case RuntimeError() if "DefaultCPUAllocator" in str(error):  # what torch raises instead where there is no GPU
            return Failure(FailureKind.OUT_OF_MEMORY, "out of memory"), True
        case TimedOut():
            return Failure(FailureKind.TIMEOUT, str(error)), True
        case TransientError() | BackboneUnavailable():
            return Failure(FailureKind.DEPENDENCY, str(error)), True
        case OSError() if error.strerror:  # a full disk, a file that is gone: the machine's fault, and it may pass
            return Failure(FailureKind.DEPENDENCY, f"the worker's machine: {error.strerror}"), True
        case PermanentError():
            return Failure(FailureKind.INTERNAL, str(error)), False
        case _:
            text = f"an error of the service ({type(error).__name__}); its log has the details"
            return Failure(FailureKind.INTERNAL, text), False
