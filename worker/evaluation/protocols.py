"""Training protocols by name: everything two accuracies must share to be comparable."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class TrainingProtocol:
    """A ConvNet trained by SGD with momentum for a fixed number of iterations, whatever the
    training set's size.

    `lr` falls to zero along half a cosine. `crop_padding` is the largest shift of an image as a
    share of its side. `evaluations` is how often the test accuracy is taken, the last time after
    the last iteration. How the numbers were chosen: docs/decisions/0002-evaluation-protocol.md.
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
