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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1 / 3])
def test_it_is_one_where_all_points_coincide(value, dtype):
    assert median_heuristic(torch.full((7, 30), value, dtype=dtype)) == 1.0


def test_points_that_differ_by_rounding_coincide():
    x = 0.1 * torch.ones(9, 30)
    assert median_heuristic(x * (1 + 1e-7 * noise(9, 30))) == 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_that_coincide_do_not_count_where_others_differ(dtype):
    few = 10 * noise(4, 30, dtype=dtype)
    many = torch.cat([few, few[:1].repeat(20, 1)])
    to_first = pairwise(few)[:3]  # 21 points at the first, so 21 of each of its distances
    expected = np.quantile(np.concatenate([np.repeat(to_first, 21), pairwise(few)[3:]]), 0.5, method="inverted_cdf")
    assert median_heuristic(many) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("spread", [1e-1, 1e-2, 1e-3, 1e-4])
def test_points_close_together_far_from_the_origin_and_from_one_other_keep_their_distance(spread):
    near = 30 * noise(1, 64) + spread * noise(40, 64, seed=1)
    x = torch.cat([near, near[:1] + 100])
    assert median_heuristic(x) == pytest.approx(np.quantile(pairwise(x.double()), 0.5, method="inverted_cdf"), rel=1e-3)


@pytest.mark.parametrize("offset", [0.0, 30.0])
@pytest.mark.parametrize("copies", [5, 60, 200])
def test_copies_of_a_row_count_as_little_in_float32_as_in_float64(offset, copies):
    few = offset + noise(40, 64, dtype=torch.float64).float()
    x = torch.cat([few, few[:1].repeat(copies, 1)])
    to_first, others = pairwise(few.double())[:39], pairwise(few.double())[39:]
    different = np.concatenate([np.repeat(to_first, copies + 1), others])
    expected = np.quantile(different, 0.5, method="inverted_cdf")
    assert median_heuristic(x) == pytest.approx(expected, rel=1e-5)
    assert median_heuristic(x.double()) == pytest.approx(expected, rel=1e-5)


def test_one_point_has_no_distance():
    with pytest.raises(ValueError, match="two rows"):
        median_heuristic(torch.zeros(1, 3))
