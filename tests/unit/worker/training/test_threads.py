import os

import pytest
import torch

from worker.training.config import TrainingConfig
from worker.training.model import Architecture
from worker.training.threads import candidates, fastest, measured, step_seconds


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({1: 1.0}, 1),
        ({1: 1.0, 2: 3.0}, 1),  # two are slower: the machine is loaded
        ({1: 1.0, 2: 0.95}, 1),  # not worth a second processor
        ({1: 1.0, 2: 0.6, 4: 0.58}, 2),
        ({1: 1.0, 2: 0.95, 4: 0.5}, 4),
    ],
)
def test_more_threads_are_taken_where_they_are_clearly_faster(seconds, best):
    assert fastest(seconds) == best


def test_the_trials_take_turns_and_the_best_counts():
    asked = []
    times = iter([3.0, 9.0, 1.0, 5.0, 2.0, 7.0])

    def seconds_with(count: int) -> float:
        asked.append(count)
        return next(times)

    assert measured([1, 2], seconds_with) == {1: 1.0, 2: 5.0}
    assert asked == [1, 2] * 3


def test_no_more_threads_than_processors_are_tried():
    assert candidates()[0] == 1
    assert max(candidates()) <= len(os.sched_getaffinity(0))


def test_a_trial_sets_the_threads_and_takes_some_time():
    before = torch.get_num_threads()
    seconds = step_seconds(Architecture(4, 1, 3, heads=1, head_dim=8, blocks=1), TrainingConfig(batch_size=2))(2)
    assert seconds > 0
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
