"""Small training sets of real images, which a distilled set of the same size has to beat."""

import numpy as np
from jaxtyping import Float, Int, Int64

from app.domain.errors import DatasetRejected
from worker.kmeans import nearest_to_centres

Chosen = Int64[np.ndarray, " chosen"]


def random_real(labels: Int[np.ndarray, " n"], ipc: int, seed: int) -> Chosen:
    """Indices of `ipc` images of each class, drawn without replacement, in the order of labels.

    Raises DatasetRejected naming the label of a class with fewer than `ipc` images, because a
    smaller set would be no fair baseline.
    """
    generator = np.random.default_rng(seed)
    return np.concatenate([generator.permutation(members)[:ipc] for members in _members(labels, ipc)])


def kmeans_real(features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], ipc: int, seed: int) -> Chosen:
    """Indices of the real images nearest to `ipc` k-means centres of each class, all distinct.

    There is one image for each centre.

    If two centres share their nearest image, the later centre takes the nearest image that is left.
    Raises DatasetRejected as `random_real` does.
    """
    return np.concatenate([members[nearest_to_centres(features[members], ipc, seed)] for members in _members(labels, ipc)])


def _members(labels: np.ndarray, ipc: int) -> list[np.ndarray]:
    members = [np.flatnonzero(labels == label) for label in range(int(labels.max()) + 1)]
    for label, indices in enumerate(members):
        if len(indices) < ipc:
            raise DatasetRejected(f"class number {label} has {len(indices)} training images; {ipc} per class were asked for")
    return members
