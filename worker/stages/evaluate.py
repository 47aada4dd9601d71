"""Train classifiers on one arm and test them on the held-out images."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import TypeVar

import numpy as np
import torch

from app.domain.plan import UNITS_PER_CLASSIFIER
from app.domain.spec import Arm, DistillationSpec, Evaluation
from worker.datasets.base import Dataset
from worker.datasets.tensors import to_tensor
from worker.evaluation.baselines import kmeans_real, random_real
from worker.evaluation.protocols import PROTOCOLS, TrainingProtocol
from worker.evaluation.train import Score, train_and_test
from worker.seeds import seed_of
from worker.stages.base import WorkerContext, StageResult, Tick, TaskContext
from worker.stages.prepare import dataset_of
from worker.stages.samples import parts_of

TrainingSet = tuple[np.ndarray, np.ndarray]  # images [n, h, w, c] uint8 and labels [n]
T = TypeVar("T")


def evaluate_arm(work: TaskContext, bench: WorkerContext) -> StageResult:
    """The arm's test accuracies, one per training seed."""
    arm = Arm(work.input["arm"])
    dataset = dataset_of(work, bench)
    sets = training_sets(arm, work, bench, dataset)
    protocol = PROTOCOLS[evaluation_of(work.spec).protocol]
    scores = score(dataset, sets, protocol=protocol, seed=work.spec.seed, device=bench.device, tick=work.tick)
    return StageResult(
        {
            "arm": arm,
            "last": [one.last for one in scores],
            "best": [one.best for one in scores],
            "images": len(sets[0][0]),
        }
    )


def training_sets(arm: Arm, work: TaskContext, bench: WorkerContext, dataset: Dataset) -> list[TrainingSet]:
    """What each training seed trains on: a sampled arm has one set for all, real images are drawn anew for each."""
    if arm.is_sampled:
        return [sampled_set(arm, work, bench)] * evaluation_of(work.spec).training_seeds
    return real_sets(arm, work.spec, dataset)


def sampled_set(arm: Arm, work: TaskContext, bench: WorkerContext) -> TrainingSet:
    """All images of a sampled arm. Raises SamplesDamaged."""
    planned = work.lease.task.progress.total
    parts = list(parts_of(work, bench, arm, lambda: work.tick(0, planned)))
    return np.concatenate([part["images"] for part in parts]), np.concatenate([part["label"] for part in parts])


def real_sets(arm: Arm, spec: DistillationSpec, dataset: Dataset) -> list[TrainingSet]:
    """A training set of real images for each training seed, from the training split only.

    One draw of IPC images may be lucky; what they are worth is the mean over draws.
    """
    count = evaluation_of(spec).training_seeds
    different, alike = (1, count) if arm is Arm.FULL else (count, 1)  # the whole split is read once
    draws = [real_indices(arm, dataset, spec.ipc, seed_of(spec.seed, arm, run)) for run in range(different)]
    return [(dataset.train.images(chosen), dataset.train.labels[chosen]) for chosen in draws] * alike


def real_indices(arm: Arm, dataset: Dataset, ipc: int, seed: int) -> np.ndarray:
    """Positions in the training split of the real images that an arm trains on."""
    everything = np.arange(len(dataset.train))
    if arm is Arm.FULL:
        return everything
    if arm is Arm.RANDOM_REAL:
        return random_real(dataset.train.labels, ipc, seed)
    pixels = dataset.train.images(everything).reshape(len(everything), -1)
    return kmeans_real(pixels.astype(np.float64), dataset.train.labels, ipc, seed)


def evaluation_of(spec: DistillationSpec) -> Evaluation:
    """What the spec says of its evaluation. Raises ValueError if it asks for none."""
    if spec.evaluation is None:
        raise ValueError("the spec asks for no evaluation")
    return spec.evaluation


def score(
    dataset: Dataset,
    sets: Sequence[TrainingSet],
    *,
    protocol: TrainingProtocol,
    seed: int,
    device: torch.device,
    tick: Tick | None = None,
) -> list[Score]:
    """One score per training set; run k of the same `seed` has the same training seed in every arm."""
    test = _on(device, dataset.test.images(range(len(dataset.test))), dataset.test.labels)
    progress = _Progress(len(sets), tick)

    def run(number: int) -> Score:
        return train_and_test(
            *_on(device, *sets[number]),
            *test,
            protocol=protocol,
            seed=seed_of(seed, "training", number),
            on_iteration=partial(progress.note, number),
        )

    return _each(run, len(sets), device)


class _Progress:
    """Adds up classifiers that train side by side, in the units of the plan."""

    def __init__(self, classifiers: int, tick: Tick | None) -> None:
        self._done = [0.0] * classifiers
        self._tick = tick
        self._lock = Lock()

    def note(self, number: int, done: int, total: int) -> None:
        with self._lock:
            self._done[number] = done / total
            if self._tick is not None:
                self._tick(int(sum(self._done) * UNITS_PER_CLASSIFIER), len(self._done) * UNITS_PER_CLASSIFIER)


def _each(run: Callable[[int], T], count: int, device: torch.device) -> list[T]:
    """The results of all runs, in order.

    On the CPU as many at a time as torch has threads, one thread each: a network this small gains nothing from a second
    thread (3.5 s with one, 4.6 s with two), while two side by side take the time of one and end with the same bytes.
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
