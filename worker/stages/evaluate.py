"""Train classifiers on one arm and test them on the held-out images."""

import numpy as np
import torch

from app.domain.job import TaskKind
from app.domain.plan import UNITS_PER_CLASSIFIER
from app.domain.spec import Arm, DistillationSpec
from worker.datasets.base import Dataset
from worker.datasets.tensors import to_tensor
from worker.evaluation.baselines import kmeans_real, random_real
from worker.evaluation.protocols import PROTOCOLS
from worker.evaluation.train import Score, train_and_test
from worker.seeds import seed_of
from worker.stages.base import Bench, Done, Tick, Work
from worker.stages.prepare import dataset_of
from worker.stages.sample import read_samples


def evaluate_arm(work: Work, bench: Bench) -> Done:
    """The arm's test accuracies, one per training seed."""
    arm = Arm(work.input["arm"])
    dataset = dataset_of(work, bench)
    images, labels = training_set(arm, work, bench, dataset)
    scores = score(work.spec, dataset, images, labels, device=bench.device, tick=work.tick)
    return Done(
        {
            "arm": arm,
            "last": [one.last for one in scores],
            "best": [one.best for one in scores],
            "images": len(images),
        }
    )


def training_set(arm: Arm, work: Work, bench: Bench, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, h, w, c] uint8 and labels [n] of an arm; real ones come from the training split only."""
    if arm.is_sampled:
        samples = read_samples(bench, work.earlier[TaskKind.SAMPLE], arm)
        return samples["images"], samples["label"]
    chosen = real_indices(arm, dataset, work.spec.ipc, work.spec.seed)
    return dataset.train.images(chosen), dataset.train.labels[chosen]


def real_indices(arm: Arm, dataset: Dataset, ipc: int, seed: int) -> np.ndarray:
    """Positions in the training split of the real images that an arm trains on."""
    everything = np.arange(len(dataset.train))
    if arm is Arm.FULL:
        return everything
    if arm is Arm.RANDOM_REAL:
        return random_real(dataset.train.labels, ipc, seed_of(seed, arm))
    pixels = dataset.train.images(everything).reshape(len(everything), -1)
    return kmeans_real(pixels.astype(np.float32), dataset.train.labels, ipc, seed_of(seed, arm) % 2**32)


def score(
    spec: DistillationSpec,
    dataset: Dataset,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    device: torch.device,
    tick: Tick | None,
) -> list[Score]:
    """One score per training seed; the seeds are the same for every arm of a job."""
    if spec.evaluation is None:
        raise ValueError("the spec asks for no evaluation")
    protocol = PROTOCOLS[spec.evaluation.protocol]
    runs = spec.evaluation.training_seeds
    tensors = _on(device, images, labels) + _on(device, dataset.test.images(range(len(dataset.test))), dataset.test.labels)

    def on_iteration(run: int, done: int, total: int) -> None:
        if tick is not None:
            tick(units_done(run, done / total), runs * UNITS_PER_CLASSIFIER)

    return [
        train_and_test(
            *tensors,
            protocol=protocol,
            seed=seed_of(spec.seed, "training", run),
            on_iteration=lambda done, total, run=run: on_iteration(run, done, total),
        )
        for run in range(runs)
    ]


def units_done(classifiers: int, share: float) -> int:
    """The plan's units in so many trained classifiers and a share, 0 to 1, of the next."""
    return int((classifiers + share) * UNITS_PER_CLASSIFIER)


def _on(device: torch.device, images: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return to_tensor(images).to(device), torch.from_numpy(labels.astype(np.int64)).to(device)
