"""How many processors there are for this process."""

import os


def processors() -> int:
    """Those that it may use, at least 1; all of the machine's where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
