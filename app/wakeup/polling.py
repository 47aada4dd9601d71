"""The queue of embedded mode, which sends no messages.

The worker polls the same claim query that a message would make it run.
"""

from app.domain.job import Queue


class PollingQueue:
    """A TaskQueue whose workers poll for tasks themselves."""

    def wake(self, queue: Queue, count: int = 1) -> None:
        """Do nothing, because the task's row is the message."""

    def close(self) -> None:
        """Do nothing, because nothing was sent."""
