"""The queue of embedded mode: none. The runner polls the same claim query that a message would make it run."""


class PollingQueue:
    """A TaskQueue whose workers look for themselves."""

    def publish(self, task_id: str) -> None:
        """Nothing to do: the task's row is the message."""
