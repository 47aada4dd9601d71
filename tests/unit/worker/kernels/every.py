"""One of every kernel, and what each is when its definition is written out for two points."""

import math
from collections.abc import Callable

import numpy as np
from torch import Tensor

from worker.kernels.kernels import (
    RBF,
    InverseMultiquadric,
    Laplacian,
    Linear,
    MeanOfTaps,
    MercerKernel,
    Polynomial,
    RBFMixture,
)

Vector = np.ndarray


def squared(x: Vector, y: Vector) -> float:
    return sum((p - q) ** 2 for p, q in zip(x.tolist(), y.tolist(), strict=True))


def inner(x: Vector, y: Vector) -> float:
    return sum(p * q for p, q in zip(x.tolist(), y.tolist(), strict=True))


DEFINITIONS: list[tuple[MercerKernel, Callable[[Vector, Vector], float]]] = [
    (Linear(), inner),
    (Polynomial(), lambda x, y: (inner(x, y) / len(x) + 1) ** 3),
    (RBF(1.7), lambda x, y: math.exp(-squared(x, y) / (2 * 1.7**2))),
    (
        RBFMixture((0.5, 1.0, 4.0)),
        lambda x, y: sum(math.exp(-squared(x, y) / (2 * h * h)) for h in (0.5, 1.0, 4.0)) / 3,
    ),
    (Laplacian(1.7), lambda x, y: math.exp(-math.sqrt(squared(x, y)) / 1.7)),
    (InverseMultiquadric(1.7), lambda x, y: 1 / math.sqrt(1 + squared(x, y) / (2 * 1.7**2))),
    (
        MeanOfTaps((RBF(1.7), Linear()), (1, 2)),  # every test has vectors of length 3
        lambda x, y: (math.exp(-squared(x[:1], y[:1]) / (2 * 1.7**2)) + inner(x[1:], y[1:])) / 2,
    ),
]
KERNELS = [kernel for kernel, _ in DEFINITIONS]
WITH_BANDWIDTH = [RBF, Laplacian, InverseMultiquadric, lambda h: RBFMixture((h, h))]


def shuffled(x: Tensor) -> Tensor:
    """The rows in another order, no row in its old place."""
    return x.roll(1, 0)
