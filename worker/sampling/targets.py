"""From the real images of a class to what guidance aims at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from app.domain.conditions import condition_of
from app.domain.spec import DistillationSpec, Objective
from app.domain.taps import positions
from app.domain.window import is_guided
from worker.backbones.base import Backbone
from worker.datasets.base import Dataset
from worker.disk_cache import DiskCache
from worker.sampling.direction import Target
from worker.sampling.references import ClassImages, class_modes, reference_features


@dataclass(frozen=True)
class Preparing:
    """How real images are read: through which cache, how many at a time; `tick` is called between and may raise to stop."""

    cache: DiskCache | None = None
    batch: int = 64
    tick: Callable[[], None] = lambda: None


def targets_for(
    spec: DistillationSpec, backbone: Backbone, dataset: Dataset, class_names: Sequence[str], preparing: Preparing
) -> list[Target]:
    """One target per class, IPC rows each: what to draw, features of its reference images, and its modes if guidance asks."""
    guided = guided_timesteps(spec, backbone)
    rows = (slice(i * spec.ipc, (i + 1) * spec.ipc) for i in range(len(class_names)))
    return [
        _target(spec, backbone, class_images(spec, backbone, dataset, name), where, guided, preparing)
        for name, where in zip(class_names, rows, strict=True)
    ]


def guided_timesteps(spec: DistillationSpec, backbone: Backbone) -> list[Tensor]:
    """The timesteps at which features are compared."""
    if spec.guidance.objective in (Objective.NONE, Objective.MODE) or spec.guidance.scale == 0:
        return []
    scheduled = backbone.scheduler(spec.sampling).timesteps
    return [t for step, t in enumerate(scheduled) if is_guided(spec.guidance, step, len(scheduled))]


def class_images(spec: DistillationSpec, backbone: Backbone, dataset: Dataset, class_name: str) -> ClassImages:
    """The training images of a class, and what the backbone calls it."""
    members = np.flatnonzero(dataset.train.labels == dataset.classes.index(class_name))
    condition = condition_of(class_name, spec, backbone)
    conditions = backbone.conditions([condition], spec.sampling.negative_prompt)
    split, digest = dataset.train.subset(members), dataset.digest_of(class_name)
    return ClassImages(class_name, condition, conditions, split, digest, dataset.uri)


def _target(
    spec: DistillationSpec, backbone: Backbone, of: ClassImages, rows: slice, guided: Sequence[Tensor], preparing: Preparing
) -> Target:
    how = {"cache": preparing.cache, "batch": preparing.batch, "tick": preparing.tick}
    taps = positions(spec.guidance.tap, backbone.taps)
    reference = reference_features(spec, backbone, of, guided, taps=taps, **how)
    modes = class_modes(spec, backbone, of, **how) if spec.guidance.objective is Objective.MODE else None
    return Target(of.class_name, of.conditions, rows, reference, modes)
