"""Runs tasks: everything that needs the mathematics."""

import ctypes
import os

# Set here because OpenMP reads it once, when torch is imported. Threads that spin while they wait slow each other down
# where cores are busy: on 2 cores under load, 60 sampling steps took 56 s spinning and 2.8 s sleeping, same bytes. A thousand
# turns before they sleep, some microseconds, are no harm, and steps of a small model take two thirds of the time.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# Read when CUDA's matrix library starts: without it, equal calls may give different bits.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# Read when transformers is imported, which shows a bar for every text encoder, and asks for torchvision that nothing needs.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

# glibc hands freed memory back to the system at once, which clears every page when it is asked for again. A pass over a batch
# frees and asks for megabytes at each of its hundreds of operations: keeping up to 1 GiB saves a sixth of its time.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
if hasattr(_libc := ctypes.CDLL(None), "mallopt"):
    _libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the most it takes
    _libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30)
