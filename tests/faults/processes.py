"""Processes that are killed, paused, and started again as a container's restart policy would."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

RESTART_SECONDS = 1.0
STOP_SECONDS = 10.0
LOOK_SECONDS = 0.05
PORTS = range(20000, 32000)  # below the kernel's own choice, so that a closed port stays free


class Process:
    """One command; each of its lives appends to the same log. A supervisor starts it again while it is `wanted`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        *,
        last_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.name = name
        self.environment = dict(environment or {})
        self.wanted = False
        self._command = list(command)
        self._log = log
        self._last_signal = last_signal
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    def start(self) -> None:
        with self._lock:
            self.wanted = True
            if self.alive:
                return
            with self._log.open("ab") as log:
                log.write(f"--- {self.name} starts at {time.time():.3f}\n".encode())
                log.flush()
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=os.environ | self.environment,
                    start_new_session=True,
                )

    def send(self, number: signal.Signals) -> None:
        """Signal the process; one that is gone already needs none."""
        with suppress(ProcessLookupError):
            if self._process is not None and self._process.poll() is None:
                os.kill(self._process.pid, number)

    def stop(self) -> None:
        """End it by its last signal, and let it stay ended."""
        self.wanted = False
        with self._lock:
            self.send(self._last_signal)
            self.send(signal.SIGCONT)
            if self._process is not None:
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(STOP_SECONDS)
                self.send(signal.SIGKILL)
                self._process.wait()


class Supervisor:
    """Starts each wanted process again, `RESTART_SECONDS` after it was found dead."""

    def __init__(self) -> None:
        self._processes: list[Process] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._thread.start()

    def start(self, process: Process) -> Process:
        process.start()
        self._processes.append(process)
        return process

    def close(self) -> None:
        """End every process, the last started first."""
        self._ended.set()
        self._thread.join()
        for process in reversed(self._processes):
            process.stop()

    def _watch(self) -> None:
        found_dead: dict[str, float] = {}
        while not self._ended.wait(LOOK_SECONDS):
            for process in self._processes:
                if process.alive or not process.wanted:
                    found_dead.pop(process.name, None)
                elif time.monotonic() - found_dead.setdefault(process.name, time.monotonic()) >= RESTART_SECONDS:
                    process.start()


def free_ports(count: int) -> list[int]:
    """Ports of this machine on which nothing listens."""
    found: list[int] = []
    start = os.getpid() * 97 % len(PORTS)
    for port in (*PORTS[start:], *PORTS[:start]):
        if len(found) == count:
            break
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
    return found


def answers(port: int) -> bool:
    """Whether something accepts connections there."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
