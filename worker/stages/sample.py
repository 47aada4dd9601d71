"""Sample the images of a group of classes, guided or not."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from app.domain.errors import DeviceOutOfMemory
from app.domain.job import Task
from app.domain.spec import Arm, DistillationSpec, Objective
from worker.backbones.base import Backbone
from worker.datasets.base import Dataset
from worker.datasets.tensors import to_pixels, to_tensor
from worker.guidance.kernel import kernel_for
from worker.guidance.modes import modes
from worker.guidance.ranking import herding_order
from worker.guidance.reference import choose
from worker.kernels.distances import induced_distance
from worker.sampling.direction import Target
from worker.sampling.guide import guide_for
from worker.sampling.kernel_direction import default_tap
from worker.sampling.sampler import OnStep, sample
from worker.seeds import seed_of
from worker.stages.base import Bench, Done, Work, output_of
from worker.stages.prepare import dataset_of

MEDIA_TYPE = "application/x-npz"


def sample_classes(work: Work, bench: Bench) -> Done:
    """The task's classes as one artifact: images with label, index, seed, rank and distance. Raises DeviceOutOfMemory."""
    guided = work.input["arm"] == Arm.GUIDED
    spec = work.spec if guided else without_guidance(work.spec)
    backbone = work.backbone(bench)
    targets = targets_for(spec, backbone, dataset_of(work, bench), work.input["classes"])
    columns, ratio = sample_targets(spec, backbone, targets, work.tick)
    positions = {name: position for position, name in enumerate(work.prepared["classes"])}
    columns["label"] = np.repeat([positions[target.class_name] for target in targets], spec.ipc)
    path = work.scratch / "samples.npz"
    np.savez(path, allow_pickle=False, **columns)
    artifact = bench.store.put(work.lease.output_prefix + path.name, path, MEDIA_TYPE)
    return Done({"arm": work.input["arm"], "key": artifact.key, "guidance_ratio": ratio})


def without_guidance(spec: DistillationSpec) -> DistillationSpec:
    """The same job with guidance off, for the unguided arm."""
    return spec.model_copy(update={"guidance": spec.guidance.model_copy(update={"objective": Objective.NONE})})


def targets_for(spec: DistillationSpec, backbone: Backbone, dataset: Dataset, class_names: Sequence[str]) -> list[Target]:
    """One target per class, IPC rows each: its label, the latents of its reference images, and its modes if they are asked."""
    rows = (slice(i * spec.ipc, (i + 1) * spec.ipc) for i in range(len(class_names)))
    return [_target(spec, backbone, dataset, *one) for one in zip(class_names, rows, strict=True)]


def _target(spec: DistillationSpec, backbone: Backbone, dataset: Dataset, class_name: str, rows: slice) -> Target:
    members = np.flatnonzero(dataset.train.labels == dataset.classes.index(class_name))
    latents = backbone.encode(to_tensor(dataset.train.images(members)).to(backbone.device))
    return Target(
        class_name=class_name,
        label=backbone.labels[class_name],
        rows=rows,
        reference=latents[choose(latents, spec.reference.count, spec.reference.selection, class_name=class_name)],
        modes=modes(latents, spec.ipc, class_name=class_name) if spec.guidance.objective is Objective.MODE else None,
    )


def sample_targets(
    spec: DistillationSpec, backbone: Backbone, targets: Sequence[Target], on_step: OnStep | None
) -> tuple[dict[str, np.ndarray], list[float]]:
    """Per image: pixels, index within its class, seed, rank, distance; per step: |guidance| / |scheduler step|.

    Where the device has no room for all classes at once, they are sampled in halves: same images, to rounding.
    """
    try:
        return _sample_together(spec, backbone, targets, on_step)
    except torch.OutOfMemoryError as error:
        if len(targets) == 1:
            raise DeviceOutOfMemory(
                f"{spec.ipc} images of {targets[0].class_name!r} do not fit on {backbone.device}"
            ) from error
    torch.cuda.empty_cache()
    half = len(targets) // 2
    first, early = sample_targets(spec, backbone, targets[:half], _part_of_two(on_step, 0))
    second, late = sample_targets(spec, backbone, _from_row_zero(targets[half:]), _part_of_two(on_step, 1))
    weights = (half, len(targets) - half)
    ratio = np.average([early, late], axis=0, weights=weights).tolist()
    return {name: np.concatenate([first[name], second[name]]) for name in first}, ratio


def _part_of_two(on_step: OnStep | None, part: int) -> OnStep | None:
    return None if on_step is None else lambda done, total: on_step(part * total + done, 2 * total)


def _from_row_zero(targets: Sequence[Target]) -> list[Target]:
    start = targets[0].rows.start
    return [replace(target, rows=slice(target.rows.start - start, target.rows.stop - start)) for target in targets]


def _sample_together(
    spec: DistillationSpec, backbone: Backbone, targets: Sequence[Target], on_step: OnStep | None
) -> tuple[dict[str, np.ndarray], list[float]]:
    seeds = [seed_of(spec.seed, target.class_name, index) for target in targets for index in range(spec.ipc)]
    labels = torch.tensor([target.label for target in targets for _ in range(spec.ipc)], device=backbone.device)
    sampled = sample(
        backbone,
        labels,
        [torch.Generator().manual_seed(seed) for seed in seeds],
        spec.sampling,
        guide=guide_for(backbone, spec, targets),
        on_step=on_step,
    )
    ranks, distances = zip(
        *(_ranks_and_distances(spec, backbone, target, sampled.latents[target.rows]) for target in targets), strict=True
    )
    columns = {
        "images": to_pixels(backbone.decode(sampled.latents)),
        "index": np.tile(np.arange(spec.ipc), len(targets)),
        "seed": np.array(seeds, dtype=np.int64),
        "rank": np.concatenate(ranks),
        "distance": np.concatenate(distances),
    }
    return columns, list(sampled.guidance_ratio)


@torch.no_grad()
def _ranks_and_distances(
    spec: DistillationSpec, backbone: Backbone, target: Target, latents: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """The herding order of a class's images, and each one's mean D_K to the reference images; on clean features, t = 0."""
    tap = spec.guidance.tap or default_tap(backbone.blocks)
    t = torch.zeros((), dtype=torch.int64, device=backbone.device)
    synthetic, real = (
        backbone.features(x, t, torch.full((len(x),), target.label, device=backbone.device), tap)
        for x in (latents, target.reference)
    )
    kernel = kernel_for(spec, real)
    ranks = np.argsort(herding_order(kernel, synthetic, real))
    return ranks, induced_distance(kernel, synthetic, real).mean(1).cpu().numpy()


def read_samples(bench: Bench, tasks: Sequence[Task], arm: Arm) -> dict[str, np.ndarray]:
    """All images of an arm with their columns, in the order of the classes."""
    parts = []
    for task in tasks:
        if output_of(task)["arm"] == arm:
            with bench.store.open(output_of(task)["key"]) as stream:
                parts.append(dict(np.load(stream)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
