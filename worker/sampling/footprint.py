"""What the features of a job's real images will take on disk."""

import numpy as np
import torch

from app.domain.conditions import condition_of
from app.domain.spec import DistillationSpec
from app.domain.taps import positions
from worker.backbones.base import Backbone
from worker.datasets.base import Dataset
from worker.guidance.features import FeatureMap
from worker.sampling.denoise import timestep_zero
from worker.sampling.real_features import PROBES, probed_of, references_of
from worker.sampling.targets import guided_timesteps
from worker.sampling.thumbnails import thumbnails

HALF, SINGLE = 2, 4  # bytes of a number


def class_bytes(spec: DistillationSpec, backbone: Backbone, dataset: Dataset) -> list[int]:
    """For each class, the bytes that the cache will keep: references x timesteps x width x 2, their means, and the probes.

    One image goes through the backbone as far as the tap, which tells the width.
    """
    timesteps = len(guided_timesteps(spec, backbone))
    width, small = _widths(spec, backbone, dataset.classes[0])
    sizes = np.bincount(dataset.train.labels, minlength=len(dataset.classes)).tolist()
    return [_class_bytes(spec, size, timesteps, width, small) for size in sizes]


def _class_bytes(spec: DistillationSpec, images: int, timesteps: int, width: int, small: int) -> int:
    references, probed = references_of(spec.reference, images), probed_of(spec.reference, images)
    blocks = (timesteps + 1) * _block_bytes(references, width)
    probes = min(PROBES, timesteps) * _block_bytes(probed, width) if probed else 0
    return blocks + probes + references * small * HALF


def _block_bytes(rows: int, width: int) -> int:
    return rows * width * HALF + width * SINGLE


@torch.no_grad()
def _widths(spec: DistillationSpec, backbone: Backbone, class_name: str) -> tuple[int, int]:
    """Of the features of one image, all taps together, and of its thumbnail."""
    conditions = backbone.conditions([condition_of(class_name, spec, backbone)], spec.sampling.negative_prompt)
    x = torch.zeros((1, *backbone.latent_shape), device=backbone.device, dtype=backbone.latent_dtype)
    hidden = backbone.hidden(x, timestep_zero(backbone), conditions, positions(spec.guidance.tap, backbone.taps))
    return sum(FeatureMap(spec.guidance.features, spec.guidance.projection).widths(hidden)), thumbnails(x).shape[1]
