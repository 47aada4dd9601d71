from dataclasses import replace

import numpy as np
import pytest
import torch

from app.domain.errors import Cancelled
from app.domain.job import TaskKind
from app.domain.plan import later_tasks
from app.domain.spec.evaluation import Arm
from worker.evaluation.arms import real_indices, real_sets, score
from worker.evaluation.protocols import SMALL
from worker.stages.evaluate import evaluation_of, training_sets
from worker.stages.prepare import dataset_of, prepare
from worker.stages.sample import sample_classes

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
BRIEF = replace(SMALL, iterations=5)
REAL = [Arm.RANDOM_REAL, Arm.KMEANS_REAL]


@pytest.fixture
def prepared(job):
    one = job(ipc=3, evaluation={})
    one.run(prepare, TaskKind.PREPARE)
    return one


@pytest.fixture
def dataset(prepared):
    return dataset_of(prepared.context(TaskKind.EVALUATE), prepared.worker)


def sets_of(arm, prepared, dataset):
    spec = prepared.spec
    return real_sets(arm, dataset, ipc=spec.ipc, training_seeds=spec.evaluation.training_seeds, seed=spec.seed)


@pytest.mark.parametrize("arm", REAL)
def test_a_real_arm_has_as_many_images_of_each_class_as_the_distilled_set(dataset, arm):
    chosen = real_indices(arm, dataset, 3, seed=0)
    assert len(set(chosen)) == 6
    assert np.bincount(dataset.train.labels[chosen]).tolist() == [3, 3]


def test_the_whole_training_split_is_held_once_however_many_classifiers_train_on_it(prepared, dataset):
    sets = sets_of(Arm.FULL, prepared, dataset)
    assert len(sets) == prepared.spec.evaluation.training_seeds
    assert all(one is sets[0] for one in sets)


def test_the_full_arm_is_the_whole_training_split(dataset):
    assert real_indices(Arm.FULL, dataset, 3, seed=0).tolist() == list(range(len(dataset.train)))


def test_random_images_follow_from_the_seed(dataset):
    first, again, other = (real_indices(Arm.RANDOM_REAL, dataset, 3, seed).tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_a_sampled_arm_is_read_from_the_tasks_that_made_it(prepared, dataset):
    for arm in (Arm.GUIDED, Arm.UNGUIDED):
        prepared.run(sample_classes, TaskKind.SAMPLE, arm=arm, classes=["7", "3"])
    context = prepared.context(TaskKind.EVALUATE)
    guided, unguided = (training_sets(arm, context, prepared.worker, dataset)[0] for arm in (Arm.GUIDED, Arm.UNGUIDED))
    assert guided[1].tolist() == unguided[1].tolist() == [0, 0, 0, 1, 1, 1]
    assert guided[0].shape == (6, 8, 8, 1)
    assert not np.array_equal(guided[0], unguided[0])


def test_real_images_are_drawn_anew_for_each_training_seed(prepared, dataset):
    first, second, *_ = (images for images, _ in sets_of(Arm.RANDOM_REAL, prepared, dataset))
    assert not np.array_equal(first, second)


def test_classifiers_side_by_side_score_as_one_after_another(prepared, dataset):
    sets = sets_of(Arm.RANDOM_REAL, prepared, dataset)

    def scored(threads):
        torch.set_num_threads(threads)
        return score(dataset, sets, protocol=BRIEF, seed=0, device=CPU)

    try:
        assert scored(3) == scored(1)
    finally:
        torch.set_num_threads(1)


def test_progress_grows_to_the_total_of_the_plan(prepared, dataset):
    planned = {task.total for task in later_tasks(prepared.spec, ["7", "3"]) if task.kind is TaskKind.EVALUATE}
    sets = sets_of(Arm.RANDOM_REAL, prepared, dataset)
    told = []
    score(dataset, sets, protocol=BRIEF, seed=0, device=CPU, report=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert {total for _, total in told} == planned == {told[-1][0]}


def test_a_tick_that_raises_stops_every_classifier(prepared, dataset):
    sets = sets_of(Arm.RANDOM_REAL, prepared, dataset)

    def stop(_done, _total):
        raise Cancelled("asked to stop")

    with pytest.raises(Cancelled):
        score(dataset, sets, protocol=BRIEF, seed=0, device=CPU, report=stop)


def test_a_job_without_evaluation_has_no_score(job):
    with pytest.raises(ValueError, match="no evaluation"):
        evaluation_of(job().spec)
