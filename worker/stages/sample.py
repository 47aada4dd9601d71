"""Sample the images of a group of classes, guided or not."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor

from app.domain.spec import Arm, DistillationSpec, Objective
from worker.evaluation.metrics import GRAM_LIMIT, NEIGHBOURS, class_metrics
from worker.evaluation.pattern_coverage import pattern_coverage
from worker.sampling.classes import in_smaller_batches, sample_targets
from worker.sampling.direction import Target
from worker.sampling.targets import Preparing, targets_for
from worker.stages.base import WorkerContext, StageResult, TaskContext
from worker.stages.prepare import dataset_of
from worker.stages.samples import stored_as

MEDIA_TYPE = "application/x-npz"


def sample_classes(work: TaskContext, bench: WorkerContext) -> StageResult:
    """The task's classes as one artifact: images with label, index, seed, rank and distance. Raises DeviceOutOfMemory."""
    backbone = work.backbone(bench)
    dataset = dataset_of(work, bench)
    names = work.input["classes"]
    spec = work.spec if work.input["arm"] == Arm.GUIDED else without_guidance(work.spec)
    planned = work.lease.task.progress.total

    def prepared(batch: int) -> list[Target]:
        """Those of the guided arm: both arms share one entry of the cache."""
        preparing = Preparing(bench.cache, batch, lambda: work.tick(0, planned))
        return targets_for(work.spec, backbone, dataset, names, preparing)

    most = bench.settings.batch_size
    targets = in_smaller_batches(prepared, most, backbone.device)
    sampled = in_smaller_batches(
        lambda batch: sample_targets(spec, backbone, targets, batch, work.tick),
        min(most, len(names) * spec.ipc),
        backbone.device,
    )
    positions = {name: position for position, name in enumerate(work.prepared["classes"])}
    path = work.scratch / "samples.npz"
    labels = np.repeat([positions[name] for name in names], spec.ipc)
    np.savez(path, allow_pickle=False, **sampled.columns, label=labels)
    artifact = bench.store.put(work.lease.output_prefix + path.name, path, MEDIA_TYPE)
    return StageResult(
        {
            "arm": work.input["arm"],
            **stored_as(artifact),
            "guidance_ratio": sampled.guidance_ratio,
            "estimator_errors": sampled.estimator_errors,
            "median_distance": sampled.median_distance,
            "without_gradient": sampled.without_gradient,
            "references": sampled.references,
            "set_metrics": measured(zip(sampled.thumbnails, targets, strict=True)),
            "computed": computed(bench),
        },
        samples=len(labels),
    )


def measured(classes: Iterable[tuple[Tensor, Target]]) -> list[dict[str, Any]]:
    """How the images of each class lie among its reference images, as thumbnails; none where these are too few."""
    compared = [(target.class_name, small, target.reference.thumbnails[:GRAM_LIMIT]) for small, target in classes]
    return [
        {"class_name": name, "real": len(real), **class_metrics(small, real), **pattern_coverage(small, real)}
        for name, small, real in compared
        if len(real) > NEIGHBOURS
    ]


def computed(bench: WorkerContext) -> dict[str, Any]:
    """What a worker's images depend on beside the job: its kind of device, and how that is used."""
    return {"device": bench.device.type, **bench.settings.model_dump(include={"threads", "dtype", "compile", "batch_size"})}


def without_guidance(spec: DistillationSpec) -> DistillationSpec:
    """The same job with guidance off, for the unguided arm."""
    return spec.model_copy(update={"guidance": spec.guidance.model_copy(update={"objective": Objective.NONE})})
