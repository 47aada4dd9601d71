"""The share of real images that a set covers, ignoring brightness and contrast."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worker.evaluation.metrics import NEIGHBOURS, in_neighbourhood

LEAST_CONTRAST = 1e-3  # the least contrast of a row, as root mean square; one grey level of 8 bits is 8e-3


def pattern_coverage(synthetic: Float[Tensor, "n d"], real: Float[Tensor, "m d"]) -> dict[str, float | None]:
    """The coverage of `real` by `synthetic`, and the coverage expected of real images.

    The mean and the contrast of each row are removed first, because images with a little more
    contrast than the real ones lie outside nearly all neighbourhoods, although they show the same.
    Equal real rows count as one row, because copies have neighbourhoods without extent. Rows
    without contrast cover nothing and are not covered. Both values are None if no more than
    NEIGHBOURS real rows remain.
    """
    those = torch.unique(_patterns(real), dim=0)
    if len(those) <= NEIGHBOURS:
        return {"pattern_coverage": None, "pattern_coverage_expected": None}
    inside = in_neighbourhood(_patterns(synthetic), those)
    return {
        "pattern_coverage": float(inside.any(0).double().mean()),
        "pattern_coverage_expected": expected_coverage(len(synthetic), len(those)),
    }


def expected_coverage(images: int, real: int) -> float:
    """The mean coverage of `real` images by `images` others of the same distribution.

    It does not depend on the distribution, because only the order of distances counts (Naeem et
    al., ICML 2020, appendix C). For n images, m real images and k neighbours, it is

    1 - (m - 1) ... (m - k) / ((n + m - 1) ... (n + m - k)).
    """
    steps = np.arange(1, NEIGHBOURS + 1)
    return float(1 - np.prod((real - steps) / (images + real - steps)))


def _patterns(x: Float[Tensor, "n d"]) -> Float[Tensor, "k d"]:
    """The rows that have contrast, with mean 0 and length 1."""
    centred = x - x.mean(1, keepdim=True)
    lengths = centred.norm(dim=1, keepdim=True)
    seen = lengths[:, 0] > LEAST_CONTRAST * x.shape[1] ** 0.5
    return centred[seen] / lengths[seen]
