"""Metrics that describe how a synthetic set lies among the real images, in any feature space."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worker.kernels.bandwidth import median_heuristic
from worker.kernels.discrepancies import mmd2_unbiased
from worker.kernels.kernels import RBF

NEIGHBOURS = 5  # k of Naeem et al.
CHUNK = 1024
GRAM_LIMIT = 2048  # rows whose pairs are held in memory at once

Features = Float[Tensor, "n d"]
RealFeatures = Float[Tensor, "m d"]


def class_metrics(synthetic: Features, real: RealFeatures) -> dict[str, float | None]:
    """All metrics of this module by name, for one class.

    `real` are real images of the class, more than NEIGHBOURS of them. Distances are in units of the
    features. `mmd2` (the unbiased estimate) and `diversity` compare pairs of synthetic images, so
    they are None for a single image. At most GRAM_LIMIT evenly spaced rows represent `real`. The
    search for the nearest real image is the exception: it covers all rows of `real`.
    """
    some = real[:: -(-len(real) // GRAM_LIMIT)]
    inside = in_neighbourhood(synthetic, some)
    return {
        "mmd2": mmd2(synthetic, some),
        "diversity": diversity(synthetic),
        "real_diversity": diversity(some),
        "density": float(inside.sum(1).double().mean()) / NEIGHBOURS,
        "coverage": float(inside.any(0).double().mean()),
        "nearest_real": float(nearest(synthetic, real).median()),
        "real_to_real": float(_neighbour(some, real, 1).median()),
    }


def mmd2(synthetic: Features, real: RealFeatures) -> float | None:
    """The unbiased MMD^2 under the RBF kernel with the median bandwidth of `real`.

    None for a single synthetic image.
    """
    return float(mmd2_unbiased(RBF(median_heuristic(real)), synthetic, real)) if len(synthetic) > 1 else None


def diversity(x: Features) -> float | None:
    """The mean distance between two different rows; None for a single row, which has no pair."""
    return float(torch.pdist(x).mean()) if len(x) > 1 else None


def in_neighbourhood(synthetic: Features, real: RealFeatures) -> Bool[Tensor, "n m"]:
    """True at (j, i) where synthetic image j lies in the neighbourhood of real image i.

    The neighbourhood is the ball around image i that reaches its k-th nearest real neighbour.
    Density and coverage are means of this matrix (Naeem et al., Reliable Fidelity and Diversity
    Metrics, ICML 2020, eq. 3 and 4).
    """
    return torch.cdist(synthetic, real) <= _neighbour(real, real, NEIGHBOURS)


def nearest(synthetic: Features, real: RealFeatures) -> Float[Tensor, " n"]:
    """The distance from each synthetic image to the nearest real image.

    A distance far below that among the real images themselves (`real_to_real`) is a sign of
    memorisation.
    """
    return torch.cat([torch.cdist(rows, real).amin(1) for rows in synthetic.split(CHUNK)])


def _neighbour(rows: Features, real: RealFeatures, k: int) -> Float[Tensor, " n"]:
    """The distance from each of `rows` to its k-th nearest other row of `real`.

    The rows are themselves among `real`.
    """
    return torch.cat([torch.cdist(chunk, real).kthvalue(k + 1, dim=1).values for chunk in rows.split(CHUNK)])
