import numpy as np
import pytest
import torch

from app.domain.job import TaskKind
from app.domain.plan import later_tasks
from app.domain.spec import Arm
from worker.stages.evaluate import real_indices, score, training_set, units_done
from worker.stages.prepare import dataset_of, prepare
from worker.stages.sample import sample_classes

REAL = [Arm.RANDOM_REAL, Arm.KMEANS_REAL]


@pytest.fixture
def prepared(job):
    one = job(ipc=3, evaluation={})
    one.run(prepare, TaskKind.PREPARE)
    return one


@pytest.fixture
def dataset(prepared):
    return dataset_of(prepared.work(TaskKind.EVALUATE), prepared.bench)


@pytest.mark.parametrize("arm", REAL)
def test_a_real_arm_has_as_many_images_of_each_class_as_the_distilled_set(dataset, arm):
    chosen = real_indices(arm, dataset, 3, seed=0)
    assert len(set(chosen)) == 6
    assert np.bincount(dataset.train.labels[chosen]).tolist() == [3, 3]


def test_the_full_arm_is_the_whole_training_split(dataset):
    assert real_indices(Arm.FULL, dataset, 3, seed=0).tolist() == list(range(len(dataset.train)))


def test_random_images_follow_from_the_seed(dataset):
    first, again, other = (real_indices(Arm.RANDOM_REAL, dataset, 3, seed).tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_a_sampled_arm_is_read_from_the_tasks_that_made_it(prepared, dataset):
    for arm in (Arm.GUIDED, Arm.UNGUIDED):
        prepared.run(sample_classes, TaskKind.SAMPLE, arm=arm, classes=["7", "3"])
    work = prepared.work(TaskKind.EVALUATE)
    guided, unguided = (training_set(arm, work, prepared.bench, dataset) for arm in (Arm.GUIDED, Arm.UNGUIDED))
    assert guided[1].tolist() == unguided[1].tolist() == [0, 0, 0, 1, 1, 1]
    assert guided[0].shape == (6, 8, 8, 1)
    assert not np.array_equal(guided[0], unguided[0])


def test_progress_is_told_in_the_units_of_the_plan(prepared):
    planned = {task.total for task in later_tasks(prepared.spec, ["7", "3"]) if task.kind is TaskKind.EVALUATE}
    last = prepared.spec.evaluation.training_seeds - 1
    assert {units_done(last, 1.0)} == planned
    assert [units_done(0, 0.0), units_done(0, 0.5), units_done(1, 0.25)] == [0, 50, 125]


def test_a_job_without_evaluation_has_no_score(job, dataset):
    with pytest.raises(ValueError, match="no evaluation"):
        score(job().spec, dataset, np.zeros((1, 8, 8, 1), np.uint8), np.zeros(1), device=torch.device("cpu"), tick=None)
