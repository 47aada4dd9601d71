"""Children that decode images: a file that is slow, greedy or crashes its decoder costs no more
than itself.
"""

import atexit
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from queue import SimpleQueue

import numpy as np

from app.domain.errors import TransientError
from app.settings import INSTALLED_AT
from worker.datasets import decode_wire as wire
from worker.datasets.decode import Pixels
from worker.processors import processors

WALL_SECONDS = 60.0  # without an answer; a busy machine takes many times the CPU time
START_SECONDS = 120.0
MOST_CHILDREN = 8
PROGRAM = "worker.datasets.decode_child"


@dataclass(frozen=True)
class Refused:
    """Why a file was not decoded; `killed` if it took its child with it."""

    reason: str
    killed: bool = False


Decoded = np.ndarray | Refused


@cache
def decoders(max_pixels: int) -> "DecodePool":
    """The children of this process, for files of at most `max_pixels`; they start when they are
    needed and end with it.
    """
    pool = DecodePool(children(), max_pixels)
    atexit.register(pool.close)
    return pool


def children() -> int:
    """As many as there are cores for this process, up to MOST_CHILDREN."""
    return min(processors(), MOST_CHILDREN)


class DecodePool:
    """Up to `size` children, each of them used by one thread at a time.

    `program` is the module that they run.
    """

    def __init__(self, size: int, max_pixels: int, *, program: str = PROGRAM) -> None:
        self.size = size
        self._all = [_Child(program, max_pixels) for _ in range(size)]
        self._children: SimpleQueue[_Child] = SimpleQueue()
        for child in self._all:
            self._children.put(child)

    def decode(self, contents: Sequence[bytes], pixels: Pixels) -> list[Decoded]:
        """The files' pixels [size, size, channels], or why there are none, in their order.

        A file whose child dies is tried once more, alone, unless the child ran out of its own CPU
        time: whatever else kills a process may be the machine's fault. Raises TransientError if no
        child can be started.
        """
        child = self._children.get()
        try:
            return _decode(child, contents, pixels)
        finally:
            self._children.put(child)

    def close(self) -> None:
        """End the children; they start again when they are needed."""
        for _ in range(self.size):
            child = self._children.get()
            child.kill()
            self._children.put(child)


def _decode(child: "_Child", contents: Sequence[bytes], pixels: Pixels) -> list[Decoded]:
    done: list[Decoded] = []
    once_more = False
    while len(done) < len(contents):
        rest = contents[len(done) : len(done) + 1] if once_more else contents[len(done) :]
        try:
            for decoded in child.decode(rest, pixels):
                done.append(decoded)
                once_more = False
        except _Died as death:
            if once_more or death.certain:
                done.append(Refused(death.reason, killed=True))
            once_more = not (once_more or death.certain)
    return done


class _Died(Exception):
    """The child is no more; `certain` if the file it worked on would kill another in the same way."""

    def __init__(self, reason: str, *, certain: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.certain = certain


class _Child:
    """One child process, started when it is needed."""

    def __init__(self, program: str, max_pixels: int) -> None:
        self._program = program
        self._max_pixels = max_pixels
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None

    def decode(self, contents: Sequence[bytes], pixels: Pixels) -> Iterator[Decoded]:
        """One result per file, in their order.

        Raises _Died, having ended the child, in the place of the file at fault.
        """
        connection = self._connected()
        complete = False
        try:
            wire.send_batch(connection, contents, pixels)
            for _ in contents:
                decoded, payload = wire.receive_answer(connection, pixels)
                yield _array(payload, pixels) if decoded else Refused(payload.decode(errors="replace"))
            complete = True
        except TimeoutError as error:
            raise _Died(f"takes more than {WALL_SECONDS:g} s to decode") from error
        except (wire.Closed, OSError) as error:
            raise self._death() from error
        finally:
            if not complete:
                self.kill()

    def kill(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._connection = self._process = None

    def _death(self) -> _Died:
        """Raised in the place of an answer that did not come."""
        if self._process is None:
            return _Died("the decoder is gone")
        self._process.kill()
        code = self._process.wait()
        if code == -signal.SIGXCPU:
            return _Died("takes too much time to decode", certain=True)
        return _Died("crashes its decoder" if code < 0 else "ends its decoder")

    def _connected(self) -> socket.socket:
        if self._process is not None and self._process.poll() is not None:
            self.kill()
        if self._connection is None:
            self._connection = self._start()
        return self._connection

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", self._program, str(theirs.fileno()), str(self._max_pixels)]
        path = os.pathsep.join([str(INSTALLED_AT), *filter(None, sys.path)])
        environment = os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()], env=environment
                )
            ours.settimeout(START_SECONDS)
            wire.receive(ours, len(wire.READY))
        except (wire.Closed, OSError) as error:
            ours.close()
            self.kill()
            raise TransientError(
                "the process that decodes images did not start; the worker's standard error says why"
            ) from error
        ours.settimeout(WALL_SECONDS)
        return ours


def _array(payload: bytes, pixels: Pixels) -> np.ndarray:
    return np.frombuffer(payload, np.uint8).reshape(pixels.size, pixels.size, pixels.channels)
