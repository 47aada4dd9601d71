"""From the real images of a class to the target of guidance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.domain.class_conditioning import Condition
from worker.backbones.base import Backbone
from worker.datasets.base import Dataset
from worker.disk_cache import DiskCache
from worker.progress import Heartbeat, no_heartbeat
from worker.references.base import ClassImages, ReferencePlan, Target
from worker.references.cache import class_modes, reference_features


@dataclass(frozen=True)
class Reading:
    """How real images are read: through which cache and how many at a time.

    `heartbeat` may raise to stop.
    """

    cache: DiskCache | None = None
    batch: int = 64
    heartbeat: Heartbeat = no_heartbeat


def targets_for(
    plan: ReferencePlan, backbone: Backbone, classes: Sequence[ClassImages], *, ipc: int, reading: Reading
) -> list[Target]:
    """One target per class, with `ipc` rows of the batch each."""
    return [
        _target(plan, backbone, class_images, slice(number * ipc, (number + 1) * ipc), reading)
        for number, class_images in enumerate(classes)
    ]


def class_images_of(
    dataset: Dataset, class_name: str, condition: Condition, backbone: Backbone, *, negative_prompt: str | None = None
) -> ClassImages:
    """The training images of a class, with the condition under which the backbone draws it."""
    members = np.flatnonzero(dataset.train.labels == dataset.classes.index(class_name))
    conditions = backbone.conditions([condition], negative_prompt)
    split, digest = dataset.train.subset(members), dataset.digest_of(class_name)
    return ClassImages(class_name, condition, conditions, split, digest, dataset.uri)


def _target(plan: ReferencePlan, backbone: Backbone, class_images: ClassImages, rows: slice, reading: Reading) -> Target:
    options = {"cache": reading.cache, "batch": reading.batch, "heartbeat": reading.heartbeat}
    features = reference_features(plan, backbone, class_images, **options)
    modes = class_modes(plan.modes, backbone, class_images, **options) if plan.modes else None
    return Target(class_images.class_name, class_images.conditions, rows, features, modes)
