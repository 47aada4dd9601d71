"""No held-out image is ever seen: with all of them replaced by noise, nothing changes but the evaluation's accuracy."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from app.domain.job import TaskKind
from app.domain.spec.evaluation import Arm
from worker.datasets.base import Dataset
from worker.datasets.readers import digits
from worker.datasets.tensors import to_tensor
from worker.evaluation.classifier import Score, train_and_test
from worker.evaluation.protocols import PROTOCOLS
from worker.references.targets import Reading, targets_for
from worker.stages.evaluate import training_sets
from worker.stages.job_plans import class_images, reference_plan
from worker.stages.prepare import dataset_of, prepare
from worker.stages.sample import sample_classes
from worker.training.model import Architecture
from worker.training.train import TrainingConfig, train

BRIEF = replace(PROTOCOLS["small"], iterations=60, depth=2, width=16, lr=0.05, evaluations=1)


@dataclass(frozen=True)
class Seen:
    """Everything that comes of the digits: what must not, and what must, depend on the held-out images."""

    dataset: Dataset
    weights: bytes
    references: bytes
    arms: dict[Arm, bytes]
    score: Score


@pytest.fixture
def everything(job, tmp_path):
    """everything(name) reads the digits anew, trains on them, distils them and evaluates what came of it."""

    def new(name: str) -> Seen:
        digits._arrays.cache_clear()
        one = job(ipc=2, evaluation={}, classes=None)
        one.run(prepare, TaskKind.PREPARE)
        for arm in (Arm.GUIDED, Arm.UNGUIDED):
            one.run(sample_classes, TaskKind.SAMPLE, arm=arm, classes=["3", "7"])
        dataset, context = dataset_of(one.context(TaskKind.EVALUATE), one.worker), one.context(TaskKind.EVALUATE)
        backbone = context.backbone(one.worker)
        classes = class_images(one.spec, backbone, dataset, dataset.classes)
        aims = targets_for(reference_plan(one.spec, backbone), backbone, classes, ipc=2, reading=Reading())
        arms = {arm: training_sets(arm, context, one.worker, dataset)[0] for arm in Arm}
        return Seen(
            dataset,
            weights=trained(dataset, tmp_path / name),
            references=b"".join(aim.reference.clean.numpy().tobytes() for aim in aims),
            arms={arm: images.tobytes() + labels.tobytes() for arm, (images, labels) in arms.items()},
            score=scored(dataset, *arms[Arm.FULL]),
        )

    yield new
    digits._arrays.cache_clear()


def trained(dataset: Dataset, folder) -> bytes:
    folder.mkdir()
    images, labels = to_tensor(dataset.train.images(range(len(dataset.train)))), torch.from_numpy(dataset.train.labels)
    small = Architecture(8, 1, len(dataset.classes), heads=1, head_dim=8, blocks=1)
    model = train(images, labels, small, TrainingConfig(steps=2), folder=folder).model
    return b"".join(weight.numpy().tobytes() for weight in model.parameters())


def scored(dataset: Dataset, images: np.ndarray, labels: np.ndarray) -> Score:
    test = to_tensor(dataset.test.images(range(len(dataset.test)))), torch.from_numpy(dataset.test.labels)
    return train_and_test(to_tensor(images), torch.from_numpy(labels), *test, protocol=BRIEF, seed=0)


@pytest.mark.slow
def test_held_out_images_change_nothing_but_the_accuracy(everything, monkeypatch):
    honest = everything("honest")
    flat, labels = load_digits(return_X_y=True)
    held_out = [int(name.removeprefix("digits/")) for name in honest.dataset.test.names]
    flat[held_out] = np.random.default_rng(0).integers(0, 17, flat[held_out].shape)
    monkeypatch.setattr(digits, "load_digits", lambda return_X_y: (flat, labels))  # noqa: N803 - scikit-learn's name
    with_noise = everything("with-noise")
    assert not np.array_equal(honest.dataset.test.images([0]), with_noise.dataset.test.images([0]))
    assert honest.weights == with_noise.weights
    assert honest.references == with_noise.references
    assert honest.arms == with_noise.arms
    assert honest.score.last > 50 > with_noise.score.last
