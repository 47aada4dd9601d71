"""The images of whole classes: sampled, decoded, ranked and measured."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from app.domain.errors import DeviceOutOfMemory
from app.domain.spec import DistillationSpec
from worker.backbones.base import Backbone, Conditions
from worker.datasets.tensors import to_pixels
from worker.guidance.kernel import kernel_for
from worker.guidance.ranking import herding_order
from worker.kernels.distances import induced_distance
from worker.sampling.denoise import features_of, parts_of, timestep_zero
from worker.sampling.direction import Tap, Target
from worker.sampling.guidance_record import median_distance, without_gradient
from worker.sampling.guide import guide_for, tap_of
from worker.sampling.sampler import OnStep, sample
from worker.sampling.thumbnails import thumbnails
from worker.seeds import seed_of

T = TypeVar("T")


@dataclass(frozen=True)
class SampledClasses:
    """Columns with a row per image: `images` [n, h, w, c] uint8, `index` within its class, `seed`, `rank`, `distance`.

    `guidance_ratio` is |guidance| / |scheduler step| of each step; `references` say of each class what stood for it, and
    `estimator_errors` what that was worth. `median_distance` and `without_gradient` are those of `guidance_record`.
    `thumbnails` are those of each class's latents.
    """

    columns: dict[str, np.ndarray]
    guidance_ratio: list[float]
    references: list[dict[str, Any]]
    estimator_errors: list[dict[str, Any]]
    median_distance: list[dict[str, Any]]
    without_gradient: dict[str, Any]
    thumbnails: list[Tensor]


def sample_targets(
    spec: DistillationSpec, backbone: Backbone, targets: Sequence[Target], batch: int, on_step: OnStep | None = None
) -> SampledClasses:
    """IPC images of each target's class; the model sees at most `batch` images at once: same images, to rounding."""
    seeds = [seed_of(spec.seed, target.class_name, index) for target in targets for index in range(spec.ipc)]
    guide = guide_for(backbone, spec, targets)
    sampled = sample(
        backbone,
        together([target.conditions.repeat(spec.ipc) for target in targets]),
        [torch.Generator().manual_seed(seed) for seed in seeds],
        spec.sampling,
        guide=guide,
        batch=batch,
        on_step=on_step,
    )
    tap = tap_of(spec, backbone)
    ranks, distances = zip(
        *(_ranks_and_distances(spec, backbone, tap, target, sampled.latents[target.rows], batch) for target in targets),
        strict=True,
    )
    columns = {
        "images": in_smaller_batches(partial(_decoded, backbone, sampled.latents), min(batch, len(seeds)), backbone.device),
        "index": np.tile(np.arange(spec.ipc), len(targets)),
        "seed": np.array(seeds, dtype=np.int64),
        "rank": np.concatenate(ranks),
        "distance": np.concatenate(distances),
    }
    references = [{"class_name": target.class_name, **target.reference.about} for target in targets]
    errors = [] if guide is None else [asdict(error) for error in guide.estimator_errors]
    return SampledClasses(
        columns,
        list(sampled.guidance_ratio),
        references,
        errors,
        median_distance=median_distance(guide),
        without_gradient=without_gradient(guide, targets),
        thumbnails=[thumbnails(sampled.latents[target.rows]) for target in targets],
    )


def _decoded(backbone: Backbone, latents: Tensor, batch: int) -> np.ndarray:
    return np.concatenate([to_pixels(backbone.decode(part)) for part in latents.split(batch)])


def in_smaller_batches(run: Callable[[int], T], batch: int, device: torch.device) -> T:
    """What `run(batch)` returns, after halving the batch as often as the device runs out of memory.

    Raises DeviceOutOfMemory if it has no room for a single image.
    """
    while True:
        try:
            return run(batch)
        except torch.OutOfMemoryError as error:
            if batch == 1:
                raise DeviceOutOfMemory(f"there is no room for one image at a time on {device}") from error
        batch = (batch + 1) // 2
        torch.cuda.empty_cache()


@torch.no_grad()
def _ranks_and_distances(
    spec: DistillationSpec, backbone: Backbone, tap: Tap, target: Target, latents: Tensor, batch: int
) -> tuple[np.ndarray, np.ndarray]:
    """The herding order of a class's images, and each one's mean D_K to the reference images; on clean features, t = 0."""
    t = timestep_zero(backbone)
    parts = ((latents[rows], target.conditions.repeat(rows.stop - rows.start)) for rows in parts_of(len(latents), batch))
    synthetic = torch.cat([features_of(backbone, x, t, conditions, tap) for x, conditions in parts])
    real = target.reference.clean
    kernel = kernel_for(spec, real, target.reference.widths)
    ranks = np.argsort(herding_order(kernel, synthetic, real))
    return ranks, induced_distance(kernel, synthetic, real).mean(1).cpu().numpy()


def together(conditions: Sequence[Conditions]) -> Conditions:
    """The rows of all, in order."""
    return Conditions(
        tuple(torch.cat(column) for column in zip(*(one.given for one in conditions), strict=True)),
        tuple(torch.cat(column) for column in zip(*(one.null for one in conditions), strict=True)),
    )
