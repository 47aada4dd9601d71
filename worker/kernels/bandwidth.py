"""Choose an RBF bandwidth from data."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worker.kernels.kernels import squared_distances

NEAR = 1e-3  # of two rows' squared distances from the mean: below it, float32 loses the digits of the distance between them
EQUAL = 4 * torch.finfo(torch.float32).eps  # two rows differ by rounding alone if by less than this part of their length
PAIRS = 1 << 22  # numbers of rows that are subtracted at once


def median_heuristic(x: Float[Tensor, "n d"]) -> float:
    """The median distance between two rows of `x` that differ (Gretton et al., JMLR 13, 2012,
    section 8).

    At least two rows. Pairs that are equal to rounding take no part, as they say nothing of the
    others' distance. 1 where all rows are equal and have no scale.
    """
    if len(x) < 2:
        raise ValueError("the median distance needs at least two rows")
    rows, columns = torch.triu_indices(len(x), len(x), offset=1, device=x.device)
    distances = _distances(x, rows, columns)
    lengths = x.norm(dim=1)
    apart = distances[distances > EQUAL * torch.maximum(lengths[rows], lengths[columns])]
    return apart.median().item() if len(apart) else 1.0


def _distances(x: Float[Tensor, "n d"], rows: Int[Tensor, " p"], columns: Int[Tensor, " p"]) -> Float[Tensor, " p"]:
    """|x_i - x_j| of the pairs; of near ones by subtraction in float64, as |a|^2 + |b|^2 - 2 <a, b>
    loses their digits.
    """
    square = squared_distances(x, x)[rows, columns]
    norms = (x - x.mean(0)).square().sum(1)
    near = (square <= NEAR * (norms[rows] + norms[columns])).nonzero()[:, 0]
    for some in near.split(max(1, PAIRS // x.shape[1])):
        square[some] = (x[rows[some]].double() - x[columns[some]].double()).square().sum(1).to(square)
    return square.sqrt()
