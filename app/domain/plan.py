"""The tasks of a job: a pure function of its spec and classes, not of the number of workers."""

from collections.abc import Sequence

from app.domain.job import NewTask, TaskKind
from app.domain.spec.evaluation import Arm, Evaluation
from app.domain.spec.job_spec import DistillationSpec

IMAGES_PER_SAMPLE_TASK = 32
UNITS_PER_PACKED_IMAGE = 2  # encoded, then written
UNITS_PER_CLASSIFIER = 100  # the progress of a classifier's training is in percent


def first_task() -> NewTask:
    """The task that every job starts with."""
    return NewTask(TaskKind.PREPARE, 0, {})


def later_tasks(spec: DistillationSpec, classes: Sequence[str]) -> list[NewTask]:
    """All tasks that follow `prepare`, once the classes are known."""
    samples = [{"arm": arm, "classes": list(group)} for arm in sampled_arms(spec) for group in class_groups(classes, spec.ipc)]
    return [
        *(NewTask(TaskKind.SAMPLE, i, task_input, spec.sampling.steps) for i, task_input in enumerate(samples)),
        *evaluations(spec.evaluation),
        NewTask(TaskKind.PACKAGE, 0, {}, len(classes) * spec.ipc * UNITS_PER_PACKED_IMAGE),
    ]


def evaluations(evaluation: Evaluation | None) -> list[NewTask]:
    """One task for each arm, in order."""
    if evaluation is None:
        return []
    units = evaluation.training_seeds * UNITS_PER_CLASSIFIER
    return [NewTask(TaskKind.EVALUATE, i, {"arm": arm}, units) for i, arm in enumerate(evaluation.arms)]


def sampled_arms(spec: DistillationSpec) -> list[Arm]:
    """The arms that need sampling: always the guided one, and the unguided one as a baseline."""
    wanted = spec.evaluation.arms if spec.evaluation else ()
    return [Arm.GUIDED, *(arm for arm in wanted if arm is Arm.UNGUIDED)]


def class_groups(classes: Sequence[str], ipc: int) -> list[Sequence[str]]:
    """Groups of whole classes, in order: at least one class, and at most IMAGES_PER_SAMPLE_TASK
    images if a group has several.
    """
    size = max(1, IMAGES_PER_SAMPLE_TASK // ipc)
    return [classes[i : i + size] for i in range(0, len(classes), size)]
