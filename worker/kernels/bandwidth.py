"""Choose an RBF bandwidth from data."""

import torch
from jaxtyping import Float
from torch import Tensor

from worker.kernels.functions import squared_distances

WELL_APART = 1e-3  # of the rows' squared distances from their mean: below it, float32 loses a distance's digits
EQUAL = 4 * torch.finfo(torch.float32).eps  # two rows differ by rounding alone if by less than this part of their length


def median_heuristic(x: Float[Tensor, "n d"]) -> float:
    """The median distance between two rows of `x` that differ (Gretton et al., JMLR 13, 2012, section 8).

    At least two rows. Pairs that are equal to rounding take no part, as they say nothing of the others' distance. 1 where all
    rows are equal and have no scale.
    """
    if len(x) < 2:
        raise ValueError("the median distance needs at least two rows")
    rows, columns = torch.triu_indices(len(x), len(x), offset=1, device=x.device)
    distances = _distances(x)[rows, columns]
    lengths = x.norm(dim=1)
    apart = distances[distances > EQUAL * torch.maximum(lengths[rows], lengths[columns])]
    return apart.median().item() if len(apart) else 1.0


def _distances(x: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    """|x_i - x_j|; in float64 where most are so small beside the rows' distances from their mean that float32 loses them."""
    square = squared_distances(x, x)
    if square.median() <= WELL_APART * (x - x.mean(0)).square().sum(1).median():
        square = squared_distances(x.double(), x.double())
    return square.sqrt()
