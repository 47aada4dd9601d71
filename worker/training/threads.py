"""Chooses the number of CPU threads for training. Small models are often faster with one."""

import time
from collections.abc import Callable, Iterable

import torch

from worker.processors import processors
from worker.seeds import generator
from worker.training.config import TrainingConfig
from worker.training.model import Architecture, build
from worker.training.train import epsilon_loss

MOST_THREADS = 8
LEAST_GAIN = 0.9  # more threads must need at most this share of the time
TRIALS = 3


def candidates() -> list[int]:
    """The thread counts to try: 1, 2, 4, ... up to the processors that this process may use."""
    return [n for n in (1, 2, 4, MOST_THREADS) if n <= processors()]


def measured(counts: Iterable[int], seconds_with: Callable[[int], float]) -> dict[int, float]:
    """Seconds for each of these thread counts, the best of TRIALS.

    The thread counts take turns, because other processes load the machine unevenly.
    """
    counts = list(counts)
    times = [{count: seconds_with(count) for count in counts} for _ in range(TRIALS)]
    return {count: min(trial[count] for trial in times) for count in counts}


def fastest(seconds: dict[int, float]) -> int:
    """The smallest thread count that no larger count beats clearly."""
    best = min(seconds)
    for count in sorted(seconds):
        if seconds[count] < LEAST_GAIN * seconds[best]:
            best = count
    return best


def step_seconds(architecture: Architecture, config: TrainingConfig) -> Callable[[int], float]:
    """A function that measures a training step with a given number of threads.

    It measures with a model of its own, and leaves that number of threads set.
    """
    model = build(architecture, config.seed).eval()
    size = architecture.image_size
    x0 = torch.zeros(config.batch_size, architecture.channels, size, size)
    labels = torch.zeros(config.batch_size, dtype=torch.long)

    def seconds_with(count: int) -> float:
        torch.set_num_threads(count)
        begun = time.perf_counter()
        epsilon_loss(model, x0, labels, generator("thread trial")).backward()
        return time.perf_counter() - begun

    seconds_with(1)  # the first pass allocates memory that later passes reuse
    return seconds_with
