"""Runs tasks: everything that needs the mathematics."""

import ctypes
import os

# Set here because OpenMP reads it once, when torch is imported. Threads that spin while they wait
# slow each other down where cores are busy: on 2 cores under load, 60 sampling steps took 56 s
# spinning and 2.8 s sleeping, same bytes. Ten thousand turns before they sleep, half a millisecond,
# are the compromise: against a thousand, a pass of a small model takes 0.72 of the time on idle
# cores, but 1.9 beside one busy process and 1.6 where three such share two cores; a mid-sized one
# 0.94, 1.1, 1.04.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# Read when CUDA's matrix library starts: without it, equal calls may give different bits.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# Read when transformers is imported, which shows a bar for every text encoder, and asks for
# torchvision that nothing needs.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

# glibc hands freed memory back to the system at once, which clears every page when it is asked for
# again. A pass over a batch frees and asks for megabytes at each of its hundreds of operations:
# keeping up to 1 GiB saves a sixth of its time.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
if hasattr(_libc := ctypes.CDLL(None), "mallopt"):
    _libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the most it takes
    _libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30)
