"""Wait for what another thread or process does."""

import math
import time
from collections.abc import Callable

LOOK_SECONDS = 0.02


def wait_until(holds: Callable[[], bool], seconds: float = math.inf, what: str = "what was waited for") -> None:
    """Return once `holds()` does. Raises TimeoutError naming `what`; without `seconds`, the test's own timeout ends it."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{what} not within {seconds:g} s")
        time.sleep(LOOK_SECONDS)
