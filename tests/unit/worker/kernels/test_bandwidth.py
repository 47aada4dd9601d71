import numpy as np
import pytest
import torch

from tests.unit.worker.numbers import noise
from worker.kernels.bandwidth import median_heuristic


def pairwise(x: torch.Tensor) -> np.ndarray:
    rows, columns = np.triu_indices(len(x), 1)
    return np.linalg.norm(x.numpy()[rows] - x.numpy()[columns], axis=1)


@pytest.mark.parametrize("n", [2, 3, 7, 8, 20])
def test_it_is_the_median_distance_of_different_rows_and_the_lower_one_of_two(n):
    x = noise(n, 4, dtype=torch.float64)
    assert median_heuristic(x) == pytest.approx(np.quantile(pairwise(x), 0.5, method="inverted_cdf"))


def test_it_scales_with_the_points_and_does_not_move_with_them():
    x = noise(9, 4, dtype=torch.float64)
    assert median_heuristic(3 * x + 100) == pytest.approx(3 * median_heuristic(x))


def test_it_is_one_where_most_points_coincide():
    assert median_heuristic(torch.ones(5, 3)) == 1.0


def test_one_point_has_no_distance():
    with pytest.raises(ValueError, match="two rows"):
        median_heuristic(torch.zeros(1, 3))
