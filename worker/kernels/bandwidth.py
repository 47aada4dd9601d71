"""Choose an RBF bandwidth from data."""

import torch
from jaxtyping import Float
from torch import Tensor

from worker.kernels.functions import squared_distances


def median_heuristic(x: Float[Tensor, "n d"]) -> float:
    """The median distance between two different rows of `x` (Gretton et al., JMLR 13, 2012, section 8).

    At least two rows. Falls back to 1 when more than half of the pairs coincide, where the median is no scale.
    """
    if len(x) < 2:
        raise ValueError("the median distance needs at least two rows")
    rows, columns = torch.triu_indices(len(x), len(x), offset=1, device=x.device)
    median = squared_distances(x, x)[rows, columns].median().sqrt().item()
    return median if median > 0 else 1.0
