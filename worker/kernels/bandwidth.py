"""Chooses an RBF bandwidth from data."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worker.kernels.kernels import squared_distances

NEAR = 1e-3  # share of two rows' squared distances from the mean, below which float32 loses the digits of their distance
EQUAL = 4 * torch.finfo(torch.float32).eps  # rows that differ by less than this share of their length are equal to rounding
PAIRS = 1 << 22  # how many numbers are subtracted at once


def median_heuristic(x: Float[Tensor, "n d"]) -> float:
    """The median distance between two rows of `x` that differ.

    See Gretton et al., JMLR 13, 2012, section 8. `x` must have at least two rows. Pairs of rows
    that are equal up to rounding are left out, because they say nothing about the distances between
    the other rows. The result is 1 if all rows are equal and so have no scale.
    """
    if len(x) < 2:
        raise ValueError("the median distance needs at least two rows")
    rows, columns = torch.triu_indices(len(x), len(x), offset=1, device=x.device)
    distances = _distances(x, rows, columns)
    lengths = x.norm(dim=1)
    apart = distances[distances > EQUAL * torch.maximum(lengths[rows], lengths[columns])]
    return apart.median().item() if len(apart) else 1.0


def _distances(x: Float[Tensor, "n d"], rows: Int[Tensor, " p"], columns: Int[Tensor, " p"]) -> Float[Tensor, " p"]:
    """|x_i - x_j| of the given pairs of rows.

    Near rows are subtracted in float64, because |a|^2 + |b|^2 - 2 <a, b> loses the digits of their
    distance.
    """
    square = squared_distances(x, x)[rows, columns]
    norms = (x - x.mean(0)).square().sum(1)
    near = (square <= NEAR * (norms[rows] + norms[columns])).nonzero()[:, 0]
    for some in near.split(max(1, PAIRS // x.shape[1])):
        square[some] = (x[rows[some]].double() - x[columns[some]].double()).square().sum(1).to(square)
    return square.sqrt()
