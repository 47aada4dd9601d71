"""Split a batch into parts, and halve it when the device runs out of memory."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from app.domain.errors import DeviceOutOfMemory

T = TypeVar("T")


def parts_of(count: int, batch: int) -> Iterator[slice]:
    """0..count-1 in slices of at most `batch`."""
    return (slice(start, min(start + batch, count)) for start in range(0, count, batch))


def in_smaller_batches(run: Callable[[int], T], batch: int, device: torch.device) -> T:
    """What `run(batch)` returns. The batch is halved each time the device runs out of memory.

    Raises DeviceOutOfMemory if the device has no room for a single image.
    """
    while True:
        try:
            return run(batch)
        except torch.OutOfMemoryError as error:
            if batch == 1:
                raise DeviceOutOfMemory(f"there is no room for one image at a time on {device}") from error
        batch = (batch + 1) // 2
        torch.cuda.empty_cache()
