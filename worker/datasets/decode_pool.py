"""A pool of child processes that decode images, so that a hostile file costs nothing but itself."""

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

from app.domain.errors import TransientError
from app.settings import INSTALLED_AT
from worker.datasets import decode_wire as wire
from worker.datasets.decode import Picture, Pixels
from worker.processors import processors

WALL_SECONDS = 60.0  # without an answer; a busy machine takes many times the CPU time
START_SECONDS = 120.0
MOST_CHILDREN = 8
PROGRAM = "worker.datasets.decode_child"


@dataclass(frozen=True)
class Refused:
    """The reason why a file was not decoded; `killed` if its child died."""

    reason: str
    killed: bool = False


Decoded = Picture | Refused


@cache
def decoders(max_pixels: int) -> "DecodePool":
    """The pool of this process, for files of at most `max_pixels`. Its children start on demand
    and end with the process.
    """
    pool = DecodePool(children(), max_pixels)
    atexit.register(pool.close)
    return pool


def children() -> int:
    """The number of cores of this process, at most MOST_CHILDREN."""
    return min(processors(), MOST_CHILDREN)


class DecodePool:
    """Up to `size` children; one thread uses a child at a time.

    `program` is the module that they run.
    """

    def __init__(self, size: int, max_pixels: int, *, program: str = PROGRAM) -> None:
        self.size = size
        self._all = [_Child(program, max_pixels) for _ in range(size)]
        self._children: SimpleQueue[_Child] = SimpleQueue()
        for child in self._all:
            self._children.put(child)

    def decode(self, contents: Sequence[bytes], pixels: Pixels) -> list[Decoded]:
        """The image in each file, or the reason why there is none.

        If a child dies, its file is tried once more, alone, because the machine may be the cause.
        There is no second try if the child exceeded its CPU time. Raises TransientError if no child
        can start.
        """
        child = self._children.get()
        try:
            return _decode(child, contents, pixels)
        finally:
            self._children.put(child)

    def close(self) -> None:
        """End the children. They start again on demand."""
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
    """The child died; `certain` if its file would kill another child in the same way."""

    def __init__(self, reason: str, *, certain: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.certain = certain


class _Child:
    """One child process, started on demand."""

    def __init__(self, program: str, max_pixels: int) -> None:
        self._program = program
        self._max_pixels = max_pixels
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None

    def decode(self, contents: Sequence[bytes], pixels: Pixels) -> Iterator[Decoded]:
        """One result per file, in their order.

        Ends the child and raises _Died in place of the result of the faulty file.
        """
        connection = self._connected()
        complete = False
        try:
            wire.send_batch(connection, contents, pixels)
            for _ in contents:
                answer = wire.receive_answer(connection, pixels)
                yield Refused(answer) if isinstance(answer, str) else answer
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
        """The error in place of a missing answer."""
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
