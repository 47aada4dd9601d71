"""Training protocols by name.

A protocol fixes everything that two accuracies must share to be comparable.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class TrainingProtocol:
    """A ConvNet trained by SGD with momentum for a fixed number of iterations.

    The number of iterations does not depend on the size of the training set. `lr` falls to zero
    along half a cosine. `crop_padding` is the largest shift of an image, as a share of its side.
    `evaluations` is the number of times the test accuracy is measured, the last time after the last
    iteration. docs/decisions/0002-evaluation-protocol.md explains how the numbers were chosen.
    """

    name: str
    iterations: int
    lr: float
    depth: int = 3
    width: int = 64
    batch_size: int = 64
    momentum: float = 0.9
    weight_decay: float = 5e-4
    crop_padding: float = 1 / 8
    evaluations: int = 5


SMALL = TrainingProtocol("small", iterations=500, lr=0.1)

PROTOCOLS: Mapping[str, TrainingProtocol] = MappingProxyType({SMALL.name: SMALL})
