"""The evaluate stage: train classifiers on one arm and test them on the held-out images."""

import numpy as np

from app.domain.spec.evaluation import Arm, Evaluation
from app.domain.spec.job_spec import DistillationSpec
from worker.datasets.base import Dataset
from worker.evaluation.arms import TrainingSet, real_sets, score
from worker.evaluation.protocols import PROTOCOLS
from worker.stages.context import StageResult, TaskContext, WorkerContext
from worker.stages.outputs import EvaluateOutput
from worker.stages.prepare import dataset_of
from worker.stages.stored_samples import columns_of


def evaluate_arm(task: TaskContext, worker: WorkerContext) -> StageResult:
    """The test accuracies of the arm, one per training seed."""
    dataset = dataset_of(task, worker)
    sets = training_sets(task.arm, task, worker, dataset)
    protocol = PROTOCOLS[evaluation_of(task.spec).protocol]
    scores = score(dataset, sets, protocol=protocol, seed=task.spec.seed, device=worker.device, report=task.report)
    output = EvaluateOutput(
        arm=task.arm,
        last=tuple(each.last for each in scores),
        best=tuple(each.best for each in scores),
        images=len(sets[0][0]),
    )
    return StageResult(output)


def training_sets(arm: Arm, task: TaskContext, worker: WorkerContext, dataset: Dataset) -> list[TrainingSet]:
    """The training set of each training seed.

    A sampled arm has one set for all; real images are drawn anew for each.
    """
    seeds = evaluation_of(task.spec).training_seeds
    if arm.is_sampled:
        return [sampled_set(arm, task, worker)] * seeds
    return real_sets(arm, dataset, ipc=task.spec.ipc, training_seeds=seeds, seed=task.spec.seed)


def sampled_set(arm: Arm, task: TaskContext, worker: WorkerContext) -> TrainingSet:
    """All images of a sampled arm. Raises SamplesDamaged."""
    parts = list(columns_of(task, worker, arm, task.heartbeat))
    return np.concatenate([part["images"] for part in parts]), np.concatenate([part["label"] for part in parts])


def evaluation_of(spec: DistillationSpec) -> Evaluation:
    """The evaluation of the job. Raises ValueError if it asks for none."""
    if spec.evaluation is None:
        raise ValueError("the spec asks for no evaluation")
    return spec.evaluation
