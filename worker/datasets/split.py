"""The one place that decides which images are held out: never sampled from, never trained on, only
tested on.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from app.domain.spec.evaluation import HOLDOUT_FRACTION

SALT = "dapple-held-out-1"
DIGITS_FRACTION = HOLDOUT_FRACTION  # whatever a job asks: the shipped backbone's split and every job's are the same


def held_out(
    names: Sequence[str], labels: Int[np.ndarray, " n"], fraction: float, *, salt: str = SALT, least_kept: int = 1
) -> Bool[np.ndarray, " n"]:
    """True where an image is held out: `fraction` of each class, at least one image, but
    `least_kept` of them are left.

    The images of a class are ordered by SHA-256 of salt and name, so the choice is the same on
    every machine and depends neither on the order of files nor on any random generator, and an
    image added later moves few others across.
    """
    ranks = [hashlib.sha256(f"{salt}:{name}".encode("utf-8", "surrogateescape")).digest() for name in names]
    chosen = np.zeros(len(names), dtype=bool)
    for label in np.unique(labels):
        members = sorted(np.flatnonzero(labels == label), key=lambda i: ranks[i])
        chosen[members[: _count(len(members), fraction, least_kept)]] = True
    return chosen


def _count(size: int, fraction: float, least_kept: int) -> int:
    return max(0, min(size - least_kept, max(1, round(fraction * size))))
