"""The sample stage: sample the images of a group of classes, guided or not."""

from collections.abc import Iterable
from dataclasses import asdict

import numpy as np
from torch import Tensor

from app.domain.spec.evaluation import Arm
from app.domain.spec.guidance import Objective
from app.domain.spec.job_spec import DistillationSpec
from worker.evaluation.metrics import GRAM_LIMIT, NEIGHBOURS, class_metrics
from worker.evaluation.pattern_coverage import pattern_coverage
from worker.evaluation.set_report import ClassReport
from worker.references.base import Target
from worker.references.targets import Reading, targets_for
from worker.sampling.batching import in_smaller_batches
from worker.sampling.class_set import SampledClasses, sample_class_set
from worker.stages.context import StageResult, TaskContext, WorkerContext
from worker.stages.job_plans import class_images, class_set_plan, reference_plan
from worker.stages.outputs import ClassReferences, ComputedOn, SampleOutput
from worker.stages.prepare import dataset_of

MEDIA_TYPE = "application/x-npz"


def sample_classes(task: TaskContext, worker: WorkerContext) -> StageResult:
    """The images of the classes of the task as one artifact, with label, index, seed, rank and
    distance.

    Raises DeviceOutOfMemory if a single image does not fit.
    """
    backbone = task.backbone(worker)
    targets = _targets(task, worker)
    plan = class_set_plan(task.spec if task.arm is Arm.GUIDED else without_guidance(task.spec), backbone)
    sampled = in_smaller_batches(
        lambda batch: sample_class_set(plan, backbone, targets, batch, task.report),
        min(worker.settings.batch_size, len(targets) * plan.ipc),
        backbone.device,
    )
    output = _stored(task, worker, sampled, targets)
    return StageResult(output, samples=len(targets) * plan.ipc)


def _targets(task: TaskContext, worker: WorkerContext) -> list[Target]:
    """Those of the guided arm for both arms, so that both share one entry of the cache."""
    backbone = task.backbone(worker)
    plan = reference_plan(task.spec, backbone)
    classes = class_images(task.spec, backbone, dataset_of(task, worker), task.classes)

    def prepared(batch: int) -> list[Target]:
        reading = Reading(worker.cache, batch, task.heartbeat)
        return targets_for(plan, backbone, classes, ipc=task.spec.ipc, reading=reading)

    return in_smaller_batches(prepared, worker.settings.batch_size, backbone.device)


def _stored(task: TaskContext, worker: WorkerContext, sampled: SampledClasses, targets: list[Target]) -> SampleOutput:
    label_of = {name: label for label, name in enumerate(task.prepared.classes)}
    labels = np.repeat([label_of[target.class_name] for target in targets], task.spec.ipc)
    path = task.scratch / "samples.npz"
    np.savez(path, allow_pickle=False, **sampled.columns, label=labels)
    artifact = worker.store.put(task.lease.output_prefix + path.name, path, MEDIA_TYPE)
    return SampleOutput(
        arm=task.arm,
        key=artifact.key,
        sha256=artifact.sha256,
        guidance_ratio=sampled.guidance_ratio,
        estimator_errors=sampled.estimator_errors,
        median_distance=sampled.median_distance,
        without_gradient=sampled.without_gradient,
        references=tuple(
            ClassReferences(class_name=target.class_name, **asdict(target.reference.report)) for target in targets
        ),
        set_metrics=tuple(measured(zip(sampled.thumbnails, targets, strict=True))),
        computed=computed_on(worker),
    )


def measured(classes: Iterable[tuple[Tensor, Target]]) -> list[ClassReport]:
    """How the images of each class lie among its reference images, as thumbnails.

    Classes with too few of them are left out.
    """
    compared = [(target.class_name, small, target.reference.thumbnails[:GRAM_LIMIT]) for small, target in classes]
    return [
        ClassReport(class_name=name, real=len(real), **class_metrics(small, real), **pattern_coverage(small, real))
        for name, small, real in compared
        if len(real) > NEIGHBOURS
    ]


def computed_on(worker: WorkerContext) -> ComputedOn:
    """What the images depend on besides the job: the kind of device of the worker, and how it is
    used.
    """
    settings = worker.settings.model_dump(include={"threads", "dtype", "compile", "batch_size"})
    return ComputedOn(device=worker.device.type, **settings)


def without_guidance(spec: DistillationSpec) -> DistillationSpec:
    """The same job with guidance off, for the unguided arm."""
    return spec.model_copy(update={"guidance": spec.guidance.model_copy(update={"objective": Objective.NONE})})
