"""The held-out split: images that are only tested on, never sampled from or trained on."""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from app.domain.spec.evaluation import HOLDOUT_FRACTION

SALT = "dapple-held-out-1"
DIGITS_FRACTION = HOLDOUT_FRACTION  # for every job: the split of the bundled backbone


def held_out(
    names: Sequence[str], labels: Int[np.ndarray, " n"], fraction: float, *, salt: str = SALT, least_kept: int = 1
) -> Bool[np.ndarray, " n"]:
    """True for each image that is held out: `fraction` of each class, at least one image, but so
    that `least_kept` images are left.

    Orders the images of a class by the SHA-256 of salt and name. So the choice is the same on every
    machine, and independent of the order of files and of random generators. An image added later
    moves few others to the other split. Images of one name, which are copies, are in one split.
    """
    ranks = [hashlib.sha256(f"{salt}:{name}".encode("utf-8", "surrogateescape")).digest() for name in names]
    chosen = np.zeros(len(names), dtype=bool)
    for label in np.unique(labels):
        members = sorted(np.flatnonzero(labels == label), key=lambda i: ranks[i])
        count = _count(len(members), fraction, least_kept)
        while 0 < count < len(members) and ranks[members[count - 1]] == ranks[members[count]]:
            count -= 1
        chosen[members[:count]] = True
    return chosen


def _count(size: int, fraction: float, least_kept: int) -> int:
    return max(0, min(size - least_kept, max(1, round(fraction * size))))
