"""Keeps one worker process alive beside the API until it is stopped."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0
STEADY_SECONDS = 60.0
GRACE_SECONDS = 10.0


class Supervisor:
    """Starts `command`, and starts it again after a delay whenever it ends.

    The delay doubles, up to LONGEST_DELAY_SECONDS, for each child that ends within STEADY_SECONDS.
    `environment_of` gets the number of each child. The child's standard input is a pipe that closes
    when this process dies, so no child outlives it. Calls `on_death` with the exit code before each
    new start.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment_of: Callable[[int], Mapping[str, str]],
        on_death: Callable[[int], None],
    ) -> None:
        self._command = list(command)
        self._environment_of = environment_of
        self._on_death = on_death
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="worker supervisor", daemon=True)

    def start(self) -> None:
        """Start the first child."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the child and start no further child. Returns at once."""
        with self._starting:
            self._stopping.set()
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()

    def stop(self) -> None:
        """Stop the child; send SIGKILL if it has not ended within GRACE_SECONDS."""
        self.ask_to_stop()
        if self._child is not None:
            try:
                self._child.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self._child.kill()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        delay = FIRST_DELAY_SECONDS
        for number in count(1):
            child = self._spawn(number)
            if child is None:
                return
            started = time.monotonic()
            with child:
                exit_code = child.wait()
            if self._stopping.is_set():
                return
            delay = FIRST_DELAY_SECONDS if time.monotonic() - started > STEADY_SECONDS else delay
            self._on_death(exit_code)
            self._stopping.wait(delay)
            delay = min(2 * delay, LONGEST_DELAY_SECONDS)

    def _spawn(self, number: int) -> subprocess.Popen[bytes] | None:
        """The next child, or None after `ask_to_stop`.

        The lock ensures that no child starts after that call.
        """
        with self._starting:
            if self._stopping.is_set():
                return None
            environment = os.environ | dict(self._environment_of(number))
            # Its own process group: Ctrl-C reaches only the parent, which then stops the child.
            self._child = subprocess.Popen(self._command, stdin=subprocess.PIPE, env=environment, process_group=0)  # noqa: S603 - our own interpreter
            return self._child
