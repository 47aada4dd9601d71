"""The number of processors that this process may use."""

import os


def processors() -> int:
    """The number of processors that this process may use, at least 1.

    If the system does not report it, the number of all processors of the machine.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
