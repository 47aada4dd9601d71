from app.domain.job import Queue
from app.domain.ports import TaskQueue
from app.wakeup.polling import PollingQueue


def test_a_runner_that_polls_needs_no_message() -> None:
    queue: TaskQueue = PollingQueue()
    queue.wake(Queue.GPU, 3)
