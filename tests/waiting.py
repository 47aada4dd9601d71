"""Wait for what another thread or process does."""

import math
import time
from collections.abc import Callable
from functools import partial

LOOK_SECONDS = 0.02


def wait_until(holds: Callable[[], bool], seconds: float = 20.0, what: str = "what was waited for") -> None:
    """Return once `holds()` does. Raises TimeoutError naming `what`."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{what} not within {seconds:g} s")
        time.sleep(LOOK_SECONDS)


wait_long = partial(wait_until, seconds=math.inf)  # for processes that start: the test's own timeout ends it
