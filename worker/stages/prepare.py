"""The prepare stage: read the dataset, check it against the spec and the backbone, and plan the
rest of the job.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, islice

import numpy as np

from app.domain.backbone import schedulers_of
from app.domain.class_conditioning import condition_of
from app.domain.compatibility import MOST_NAMED, class_problems, missing_classes, model_problems
from app.domain.dataset_uri import parse
from app.domain.errors import DatasetRejected, FieldProblem, InvalidSpec
from app.domain.job import JobWarning, WarningCode
from app.domain.plan import later_tasks
from app.domain.spec.evaluation import Arm
from app.domain.spec.job_spec import DistillationSpec
from worker.archive.drawn_as import drawn_as
from worker.backbones.base import Backbone
from worker.datasets.base import Dataset, require_images, select
from worker.datasets.dataset_warnings import dataset_warnings
from worker.datasets.decode import Pixels
from worker.datasets.library import Source
from worker.references.cache_size import class_bytes
from worker.stages.context import StageResult, TaskContext, WorkerContext
from worker.stages.job_plans import reference_plan
from worker.stages.outputs import PrepareOutput
from worker.stages.resolution import resolution_warnings


def prepare(task: TaskContext, worker: WorkerContext) -> StageResult:
    """Raises InvalidSpec naming the field, DatasetRejected naming the file or class."""
    spec, backbone = task.spec, task.backbone(worker)
    _check_spec(spec, backbone)
    whole = worker.datasets.read(source(task, worker), form_of(task, worker), task.scratch, task.report)
    refuse_any(missing_classes(spec, (*whole.classes, *whole.unread)))
    dataset = select(whole, spec.classes)
    refuse_any(class_problems(spec, dataset.classes, backbone.info))
    _check_longest_prompt(spec, dataset, backbone)
    require_images(dataset, least_images(spec))
    _check_test_split(spec, dataset)
    needed = feature_bytes(spec, backbone, dataset)
    output = PrepareOutput(
        classes=dataset.classes,
        dataset_digest=dataset.digest,
        dataset_revision=whole.revision,
        train_images=len(dataset.train),
        test_images=len(dataset.test),
        bad_files=dataset.bad_files,
        backbone_revision=backbone.revision,
        drawn_as=drawn_as(dataset.classes, spec, backbone.info),
        feature_bytes=sum(needed),
        scheduler=spec.sampling.scheduler or schedulers_of(backbone.info.flow)[0],
    )
    warnings = [
        *dataset_warnings(dataset, evaluated=spec.evaluation is not None),
        *resolution_warnings(whole, backbone.info),
        *cache_warnings(needed, worker.settings.cache_bytes),
    ]
    return StageResult(output, then=later_tasks(spec, dataset.classes), warnings=warnings)


def feature_bytes(spec: DistillationSpec, backbone: Backbone, dataset: Dataset) -> list[int]:
    """The bytes that the cache will keep for each class."""
    counts = np.bincount(dataset.train.labels, minlength=len(dataset.classes)).tolist()
    condition = condition_of(dataset.classes[0], spec, backbone.info)
    conditions = backbone.conditions([condition], spec.sampling.negative_prompt)
    return class_bytes(reference_plan(spec, backbone), backbone, counts, conditions)


def cache_warnings(needed: Sequence[int], cache_bytes: int) -> list[JobWarning]:
    """A warning if the features of all classes, with these sizes in bytes, do not fit into the
    cache.
    """
    if sum(needed) <= cache_bytes:
        return []
    fitting = bisect_right(list(accumulate(needed)), cache_bytes)
    message = (
        f"the features of the real images take {gib(sum(needed))}, and the cache of this worker keeps {gib(cache_bytes)}: "
        f"those of {fitting:,} of {len(needed):,} classes stay, the rest are computed whenever they are needed. Raise "
        "DAPPLE_CACHE_BYTES on the workers, or lower reference.count, guidance.projection or sampling.steps"
    )
    return [JobWarning(WarningCode.CACHE_TOO_SMALL, message)]


def gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.3g} GiB"


def source(task: TaskContext, worker: WorkerContext) -> Source:
    """What the job imports."""
    spec, settings = task.spec, worker.settings
    uri, roots = parse(spec.dataset_uri), settings.dataset_roots
    return Source(uri, roots, spec.holdout_fraction, spec.classes, settings.max_image_pixels)


def form_of(task: TaskContext, worker: WorkerContext) -> Pixels:
    """The size and channels of the images that the job's backbone draws."""
    info = task.backbone(worker).info
    return Pixels(info.image_size, info.channels, worker.settings.max_image_pixels)


def dataset_of(task: TaskContext, worker: WorkerContext) -> Dataset:
    """The dataset of the job with its classes, as `prepare` imported it.

    Raises DatasetRejected if it is gone.
    """
    prepared = task.prepared
    whole = worker.datasets.same(source(task, worker), form_of(task, worker), prepared.dataset_digest, task.heartbeat)
    return select(whole, prepared.classes)


def least_images(spec: DistillationSpec) -> int:
    """The training images that a class needs: two for a distance, IPC where real images are a
    baseline.
    """
    arms = spec.evaluation.arms if spec.evaluation else ()
    return max(2, spec.ipc) if {Arm.RANDOM_REAL, Arm.KMEANS_REAL} & set(arms) else 2


def _check_longest_prompt(spec: DistillationSpec, dataset: Dataset, backbone: Backbone) -> None:
    if backbone.info.prompted:
        prompts = [condition_of(name, spec, backbone.info) for name in dataset.classes]
        backbone.conditions([max(prompts, key=lambda prompt: len(str(prompt)))], spec.sampling.negative_prompt)


def _check_test_split(spec: DistillationSpec, dataset: Dataset) -> None:
    if spec.evaluation is not None and not len(dataset.test):
        raise DatasetRejected("the test split has no image of these classes to evaluate on; leave out `evaluation`")


def _check_spec(spec: DistillationSpec, backbone: Backbone) -> None:
    refuse_any(model_problems(spec, backbone.info))
    backbone.stepper(spec.sampling)  # raises if the schedule has fewer timesteps


def refuse_any(problems: Iterable[FieldProblem]) -> None:
    """Raises InvalidSpec with the first few of these problems, if there are any."""
    found = list(islice(problems, MOST_NAMED))
    if found:
        raise InvalidSpec(found)
