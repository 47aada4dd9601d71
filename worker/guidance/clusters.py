"""K-means, the same on every run."""

import warnings

import numpy as np
from jaxtyping import Float
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits


def clusters(
    points: Float[np.ndarray, "n d"], count: int, seed: int
) -> tuple[Float[np.ndarray, "count d"], Float[np.ndarray, "n count"]]:
    """The centres of `count` <= n clusters, and the distance of every point to each. Equal points make equal centres."""
    with threadpool_limits(1), warnings.catch_warnings():  # more threads add up in no fixed order
        warnings.simplefilter("ignore", ConvergenceWarning)  # equal points make fewer clusters; callers cope
        fitted = KMeans(count, random_state=seed % 2**32).fit(points)
        return fitted.cluster_centers_, fitted.transform(points)
