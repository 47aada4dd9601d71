"""Runs tasks. Holds all code that needs the numerical libraries."""

import ctypes
import os

# Set here because OpenMP reads them once, when torch is imported. Threads that spin while they wait
# slow each other down on busy cores. On 2 cores under load, 60 sampling steps took 56 s with
# spinning threads and 2.8 s with sleeping threads, with the same bytes. 10,000 turns before a
# thread sleeps, half a millisecond, are the compromise. Relative to 1,000 turns, a pass of a small
# model takes 0.72 of the time on idle cores, but 1.9 beside one busy process and 1.6 where three
# such processes share two cores. A pass of a mid-sized model takes 0.94, 1.1 and 1.04.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# Read when CUDA's matrix library starts. Without it, equal calls may give different bits.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# Read when transformers is imported. By default, transformers shows a progress bar for every text
# encoder, and asks for torchvision, which nothing needs.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

# glibc returns freed memory to the system at once, and the system clears every page before it hands
# the memory out again. A pass over a batch frees and allocates megabytes at each of its hundreds of
# operations. Keeping up to 1 GiB saves a sixth of the time of a pass.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
if hasattr(_libc := ctypes.CDLL(None), "mallopt"):
    _libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the largest value it accepts
    _libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30)
