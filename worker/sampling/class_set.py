"""The synthetic images of whole classes: sampled, decoded, ranked and measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from app.domain.spec.bandwidth import KernelChoice
from app.domain.spec.guidance import Guidance
from app.domain.spec.sampling import Sampling
from worker.backbones.base import Backbone, Conditions, timestep_zero
from worker.datasets.tensors import to_pixels
from worker.guidance.diagnostics import MedianDistanceSummary, WithoutGradient, median_distances, without_gradient
from worker.guidance.guidance import guidance_for
from worker.guidance.kernel_guidance import EstimatorError
from worker.guidance.ranking import herding_order
from worker.kernels.build import kernel_for
from worker.kernels.distances import induced_distance
from worker.progress import ReportProgress, no_progress
from worker.references.base import TapPoint, Target
from worker.references.thumbnails import thumbnails
from worker.sampling.batching import in_smaller_batches, parts_of
from worker.sampling.loop import sample
from worker.sampling.tapped_pass import features_of
from worker.seeds import seed_of


@dataclass(frozen=True)
class ClassSetPlan:
    """How the images of each class are made: `ipc` of them, with noise from `seed`.

    The kernel on the features at `tap` guides the sampling, and ranks the images afterwards.
    """

    ipc: int
    seed: int
    sampling: Sampling
    guidance: Guidance
    kernel: KernelChoice
    tap: TapPoint


@dataclass(frozen=True)
class SampledClasses:
    """`columns` with a row per image: `images` [n, h, w, c] uint8, `index` within its class,
    `seed`, `rank`, `distance`.

    `guidance_ratio` is |guidance| / |scheduler step| of each step. `thumbnails` has those of each
    class's latents.
    """

    columns: dict[str, np.ndarray]
    guidance_ratio: tuple[float, ...]
    estimator_errors: tuple[EstimatorError, ...]
    median_distance: tuple[MedianDistanceSummary, ...]
    without_gradient: WithoutGradient
    thumbnails: tuple[Tensor, ...]


def sample_class_set(
    plan: ClassSetPlan, backbone: Backbone, targets: Sequence[Target], batch: int, report: ReportProgress = no_progress
) -> SampledClasses:
    """`plan.ipc` images of the class of each target.

    The model sees at most `batch` images at once.
    """
    seeds = [seed_of(plan.seed, target.class_name, index) for target in targets for index in range(plan.ipc)]
    guidance = guidance_for(plan.guidance, plan.kernel, plan.tap, backbone, targets)
    sampled = sample(
        backbone,
        Conditions.concatenated([target.conditions.repeat(plan.ipc) for target in targets]),
        [torch.Generator().manual_seed(seed) for seed in seeds],
        plan.sampling,
        guidance=guidance,
        batch=batch,
        report=report,
    )
    ranks, distances = zip(
        *(_ranks_and_distances(plan, backbone, target, sampled.latents[target.rows], batch) for target in targets), strict=True
    )
    columns = {
        "images": in_smaller_batches(partial(_decoded, backbone, sampled.latents), min(batch, len(seeds)), backbone.device),
        "index": np.tile(np.arange(plan.ipc), len(targets)),
        "seed": np.array(seeds, dtype=np.int64),
        "rank": np.concatenate(ranks),
        "distance": np.concatenate(distances),
    }
    return SampledClasses(
        columns,
        sampled.guidance_ratio,
        estimator_errors=() if guidance is None else tuple(guidance.estimator_errors),
        median_distance=median_distances(guidance),
        without_gradient=without_gradient(guidance, targets),
        thumbnails=tuple(thumbnails(sampled.latents[target.rows]) for target in targets),
    )


def _decoded(backbone: Backbone, latents: Tensor, batch: int) -> np.ndarray:
    return np.concatenate([to_pixels(backbone.decode(part)) for part in latents.split(batch)])


@torch.no_grad()
def _ranks_and_distances(
    plan: ClassSetPlan, backbone: Backbone, target: Target, latents: Tensor, batch: int
) -> tuple[np.ndarray, np.ndarray]:
    """The herding order of a class, and the mean D_K of each image to the reference images.

    Features are clean, t = 0.
    """
    t = timestep_zero(backbone)
    parts = ((latents[rows], target.conditions.repeat(rows.stop - rows.start)) for rows in parts_of(len(latents), batch))
    synthetic = torch.cat([features_of(backbone, x, t, conditions, plan.tap) for x, conditions in parts])
    real = target.reference.clean
    kernel = kernel_for(plan.kernel, real, target.reference.report.widths)
    ranks = np.argsort(herding_order(kernel, synthetic, real))
    return ranks, induced_distance(kernel, synthetic, real).mean(1).cpu().numpy()
