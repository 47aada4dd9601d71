"""The program of a child process that decodes images. It cannot write files, and its memory and
time are limited.

Started as `python -P -m worker.datasets.decode_child SOCKET MAX_PIXELS`. Messages are those of
`decode_wire.py`.
"""

import contextlib
import ctypes
import math
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path

from PIL import AvifImagePlugin, Image

from worker.datasets import decode_wire as wire
from worker.datasets.decode import Pixels, Undecodable, decode

CPU_SECONDS = 10  # for one image; one of 16 million pixels takes about a second
BYTES_PER_PIXEL = 32
MORE_BYTES = 512 << 20  # for the file, and for what its format needs beside the pixels

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def main(descriptor: int, max_pixels: int) -> None:
    """Answer requests until the parent closes the connection."""
    with socket.socket(fileno=descriptor) as connection:
        _prepare()
        _limit(max_pixels)
        connection.sendall(wire.READY)
        while batch := wire.receive_batch(connection):
            for content, pixels in batch:
                _answer(connection, content, pixels)


def _answer(connection: socket.socket, content: bytes, pixels: Pixels) -> None:
    _set(resource.RLIMIT_CPU, math.ceil(time.process_time()) + CPU_SECONDS)
    try:
        wire.send_picture(connection, decode(content, pixels))
    except Undecodable as error:
        wire.send_refusal(connection, str(error))


def _prepare() -> None:
    """Load all decoders. From here on, report faults only on the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    Image.init()
    Image.MAX_IMAGE_PIXELS = None  # the decoder has a limit of its own
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    with contextlib.suppress(AttributeError, OSError):  # with glibc: return memory after a large image
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, 16 << 20)


def _limit(max_pixels: int) -> None:
    silent = os.open(os.devnull, os.O_RDWR)
    os.dup2(silent, 2)  # libtiff and others print content of the file there
    _set(resource.RLIMIT_CORE, 0)
    _set(resource.RLIMIT_FSIZE, 0)
    with contextlib.suppress(OSError):  # macOS has no /proc, and ignores the limit
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _set(resource.RLIMIT_AS, pages * resource.getpagesize() + MORE_BYTES + BYTES_PER_PIXEL * max_pixels)


def _set(which: int, limit: int) -> None:
    """Lower a soft limit, or raise it as far as the hard one allows."""
    hard = resource.getrlimit(which)[1]
    resource.setrlimit(which, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
