"""Real images as small training sets: what a distilled set of the same size has to beat."""

import warnings

import numpy as np
from jaxtyping import Float, Int, Int64
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from app.domain.errors import DatasetRejected

Chosen = Int64[np.ndarray, " chosen"]


def random_real(labels: Int[np.ndarray, " n"], ipc: int, seed: int) -> Chosen:
    """Indices of `ipc` images of each class, drawn without replacement, classes in order of their labels.

    Raises DatasetRejected naming the label of a class with fewer than `ipc` images: a smaller set would be no fair baseline.
    """
    generator = np.random.default_rng(seed)
    return np.concatenate([generator.permutation(members)[:ipc] for members in _members(labels, ipc)])


def kmeans_real(features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], ipc: int, seed: int) -> Chosen:
    """Indices of the real image nearest to each of `ipc` k-means centres of each class, all distinct.

    Where two centres share their nearest image, the later centre takes its nearest image that is left.
    Raises DatasetRejected as `random_real` does.
    """
    return np.concatenate([members[_representatives(features[members], ipc, seed)] for members in _members(labels, ipc)])


def _members(labels: np.ndarray, ipc: int) -> list[np.ndarray]:
    members = [np.flatnonzero(labels == label) for label in range(int(labels.max()) + 1)]
    for label, indices in enumerate(members):
        if len(indices) < ipc:
            raise DatasetRejected(f"class number {label} has {len(indices)} training images; {ipc} per class were asked for")
    return members


def _representatives(features: np.ndarray, count: int, seed: int) -> np.ndarray:
    with threadpool_limits(1), warnings.catch_warnings():  # more threads add up in no fixed order
        warnings.simplefilter("ignore", ConvergenceWarning)  # equal images make fewer clusters; the loop below copes
        centres = KMeans(count, random_state=seed % 2**32).fit(features).cluster_centers_
    left = np.ones(len(features), dtype=bool)
    for centre in centres:
        distances = np.where(left, np.square(features - centre).sum(1), np.inf)
        left[distances.argmin()] = False
    return np.flatnonzero(~left)
