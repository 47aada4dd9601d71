"""The queue of embedded mode: none. The runner polls the same claim query that a message would make it run."""

from app.domain.job import Queue


class PollingQueue:
    """A TaskQueue whose workers look for themselves."""

    def wake(self, queue: Queue, count: int = 1) -> None:
        """Nothing to do: the task's row is the message."""

    def close(self) -> None:
        """Nothing was sent."""
