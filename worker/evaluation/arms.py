"""The arms of the evaluation: the small training sets that are compared, and their scores."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import TypeVar

import numpy as np
import torch

from app.domain.plan import UNITS_PER_CLASSIFIER
from app.domain.spec.evaluation import Arm
from worker.datasets.base import Dataset
from worker.datasets.tensors import to_tensor
from worker.evaluation.baselines import kmeans_real, random_real
from worker.evaluation.classifier import Score, train_and_test
from worker.evaluation.protocols import TrainingProtocol
from worker.progress import ReportProgress, no_progress
from worker.seeds import seed_of

TrainingSet = tuple[np.ndarray, np.ndarray]  # images [n, h, w, c] uint8 and labels [n]
T = TypeVar("T")


def real_sets(arm: Arm, dataset: Dataset, *, ipc: int, training_seeds: int, seed: int) -> list[TrainingSet]:
    """A set of real images for each training seed, from the training split only.

    One draw of IPC images may be lucky, so each training seed has a draw of its own. The full split
    is read once.
    """
    draws, copies = (1, training_seeds) if arm is Arm.FULL else (training_seeds, 1)
    chosen = [real_indices(arm, dataset, ipc, seed_of(seed, arm, draw)) for draw in range(draws)]
    return [(dataset.train.images(indices), dataset.train.labels[indices]) for indices in chosen] * copies


def real_indices(arm: Arm, dataset: Dataset, ipc: int, seed: int) -> np.ndarray:
    """Positions in the training split of the real images that an arm trains on."""
    everything = np.arange(len(dataset.train))
    if arm is Arm.FULL:
        return everything
    if arm is Arm.RANDOM_REAL:
        return random_real(dataset.train.labels, ipc, seed)
    pixels = dataset.train.images(everything).reshape(len(everything), -1)
    return kmeans_real(pixels.astype(np.float64), dataset.train.labels, ipc, seed)


def score(
    dataset: Dataset,
    sets: Sequence[TrainingSet],
    *,
    protocol: TrainingProtocol,
    seed: int,
    device: torch.device,
    report: ReportProgress = no_progress,
) -> list[Score]:
    """One score per training set.

    Run k of the same `seed` has the same training seed in every arm.
    """
    test = _on(device, dataset.test.images(range(len(dataset.test))), dataset.test.labels)
    progress = _JointProgress(len(sets), report)

    def run(number: int) -> Score:
        return train_and_test(
            *_on(device, *sets[number]),
            *test,
            protocol=protocol,
            seed=seed_of(seed, "training", number),
            report=partial(progress.note, number),
        )

    return _each(run, len(sets), device)


class _JointProgress:
    """Adds up the progress of classifiers that train side by side, in the units of the plan."""

    def __init__(self, classifiers: int, report: ReportProgress) -> None:
        self._done = [0.0] * classifiers
        self._report = report
        self._lock = Lock()

    def note(self, number: int, done: int, total: int) -> None:
        with self._lock:
            self._done[number] = done / total
            self._report(int(sum(self._done) * UNITS_PER_CLASSIFIER), len(self._done) * UNITS_PER_CLASSIFIER)


def _each(run: Callable[[int], T], count: int, device: torch.device) -> list[T]:
    """The results of all runs, in order.

    On the CPU as many run at a time as torch has threads, with one thread each. A network this
    small gains nothing from a second thread (3.5 s with one, 4.6 s with two), while two side by
    side take the time of one and end with the same bytes.
    """
    if device.type != "cpu":
        return [run(number) for number in range(count)]
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=partial(torch.set_num_threads, 1)) as pool:
            return list(pool.map(run, range(count)))
    finally:
        torch.set_num_threads(threads)


def _on(device: torch.device, images: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return to_tensor(images).to(device), torch.from_numpy(labels.astype(np.int64)).to(device)
