from hypothesis import given
from hypothesis import strategies as st

from app.domain.job import TaskKind
from app.domain.plan import class_groups, first_task, later_tasks
from app.domain.spec.evaluation import Arm, Evaluation
from app.domain.spec.job_spec import DistillationSpec

CLASSES = [str(label) for label in range(10)]


def spec(**changes: object) -> DistillationSpec:
    return DistillationSpec.model_validate({"dataset_uri": "sklearn://digits", "ipc": 10} | changes)


def test_a_job_begins_with_one_prepare_task() -> None:
    assert (first_task().kind, first_task().ordinal) == (TaskKind.PREPARE, 0)


def test_without_evaluation_only_the_guided_arm_is_sampled() -> None:
    planned = later_tasks(spec(), CLASSES)
    assert {task.kind for task in planned} == {TaskKind.SAMPLE, TaskKind.PACKAGE}
    assert {task.input["arm"] for task in planned if task.kind is TaskKind.SAMPLE} == {Arm.GUIDED}


def test_every_arm_asked_for_is_evaluated_and_the_unguided_one_sampled() -> None:
    evaluation = Evaluation(training_seeds=2)
    planned = later_tasks(spec(evaluation=evaluation), CLASSES)
    assert [task.input["arm"] for task in planned if task.kind is TaskKind.EVALUATE] == list(Arm)
    assert {task.input["arm"] for task in planned if task.kind is TaskKind.SAMPLE} == {Arm.GUIDED, Arm.UNGUIDED}
    assert planned[-1].kind is TaskKind.PACKAGE


def test_a_classifier_counts_a_hundred_units_of_an_evaluation() -> None:
    planned = later_tasks(spec(evaluation=Evaluation(training_seeds=2)), CLASSES)
    assert {task.total for task in planned if task.kind is TaskKind.EVALUATE} == {200}


def test_ordinals_count_within_each_kind() -> None:
    planned = later_tasks(spec(evaluation={}), CLASSES)
    for kind in (TaskKind.SAMPLE, TaskKind.EVALUATE, TaskKind.PACKAGE):
        ordinals = [task.ordinal for task in planned if task.kind is kind]
        assert ordinals == list(range(len(ordinals)))


@given(st.integers(1, 300), st.integers(1, 100))
def test_groups_hold_every_class_once_in_order(count: int, ipc: int) -> None:
    classes = [str(label) for label in range(count)]
    groups = class_groups(classes, ipc)
    assert [name for group in groups for name in group] == classes
    assert all(groups)
