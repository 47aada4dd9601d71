"""K-means that gives the same clusters on every run."""

import warnings

import numpy as np
from jaxtyping import Float, Int64
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits


def clusters(
    points: Float[np.ndarray, "n d"], count: int, seed: int
) -> tuple[Float[np.ndarray, "count d"], Float[np.ndarray, "n count"]]:
    """The centres of `count` <= n clusters, and the distance of each point from each centre.

    Equal points give equal centres.
    """
    with threadpool_limits(1), warnings.catch_warnings():  # several threads add in an arbitrary order
        warnings.simplefilter("ignore", ConvergenceWarning)  # equal points make fewer clusters; callers allow that
        fitted = KMeans(count, random_state=seed % 2**32).fit(points)
        return fitted.cluster_centers_, fitted.transform(points)


def nearest_to_centres(points: Float[np.ndarray, "n d"], count: int, seed: int) -> Int64[np.ndarray, " count"]:
    """Ascending positions of the points nearest to the centres of `count` <= n clusters, all
    distinct.

    If two centres share their nearest point, the later centre takes the nearest point that is left.
    """
    _, distances = clusters(points, count, seed)
    chosen: list[int] = []
    for to_centre in distances.T:
        to_centre[chosen] = np.inf
        chosen.append(int(to_centre.argmin()))
    return np.sort(chosen)
