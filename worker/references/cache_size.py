"""Predict the bytes that the features of real images take in the cache."""

from collections.abc import Iterable

import torch

from worker.backbones.base import Backbone, Conditions, timestep_zero
from worker.references.base import ReferencePlan
from worker.references.features import PROBES, probed_of, references_of
from worker.references.thumbnails import thumbnails

HALF, SINGLE = 2, 4  # bytes of a number


def class_bytes(plan: ReferencePlan, backbone: Backbone, image_counts: Iterable[int], conditions: Conditions) -> list[int]:
    """The bytes that the cache keeps for each class: references x timesteps x width x 2, their
    means, and the probes.

    `image_counts` are the training images of each class. One image under `conditions` (one row)
    passes through the backbone as far as the tap, to find the width.
    """
    width, thumbnail_width = _widths(plan, backbone, conditions)
    return [_class_bytes(plan, count, width, thumbnail_width) for count in image_counts]


def _class_bytes(plan: ReferencePlan, images: int, width: int, thumbnail_width: int) -> int:
    references, probed = references_of(plan.reference, images), probed_of(plan.reference, images)
    matrices = (len(plan.timesteps) + 1) * _matrix_bytes(references, width)
    probes = min(PROBES, len(plan.timesteps)) * _matrix_bytes(probed, width) if probed else 0
    return matrices + probes + references * thumbnail_width * HALF


def _matrix_bytes(rows: int, width: int) -> int:
    return rows * width * HALF + width * SINGLE


@torch.no_grad()
def _widths(plan: ReferencePlan, backbone: Backbone, conditions: Conditions) -> tuple[int, int]:
    """Width of the features of one image, all taps together, and of its thumbnail."""
    x = torch.zeros((1, *backbone.latent_shape), device=backbone.device, dtype=backbone.latent_dtype)
    hidden = backbone.hidden(x, timestep_zero(backbone), conditions, plan.tap.block_numbers)
    return sum(plan.tap.feature_map.widths(hidden)), thumbnails(x).shape[1]
