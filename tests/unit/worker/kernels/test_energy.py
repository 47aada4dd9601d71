import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.unit.worker.kernels.every import shuffled
from tests.unit.worker.numbers import central_differences, noise
from worker.kernels.energy import energy_distance, mean_distance_of_all_pairs, mean_distance_within
from worker.kernels.mmd import mmd2_unbiased


class DistanceInduced:
    """K(a, b) = (|a| + |b| - |a - b|) / 2."""

    def gram(self, a: Tensor, b: Tensor) -> Tensor:
        return (a.norm(dim=1)[:, None] + b.norm(dim=1)[None] - (a[:, None] - b[None]).norm(dim=2)) / 2

    def diagonal(self, a: Tensor) -> Tensor:
        return a.norm(dim=1)


def sets(seed: int = 0, n: int = 5, m: int = 7):
    return noise(n, 3, seed=seed, dtype=torch.float64), 0.5 + noise(m, 3, seed=seed + 10_000, dtype=torch.float64)


@pytest.mark.parametrize(("n", "m"), [(1, 7), (2, 2), (5, 7)])
def test_it_is_the_definition_written_out_without_pairs_of_one_point(n, m):
    x, y = sets(n=n, m=m)
    across = sum(math.dist(p, q) for p in x.tolist() for q in y.tolist()) / (n * m)

    def within(points):
        pairs = [math.dist(p, q) for i, p in enumerate(points) for j, q in enumerate(points) if i != j]
        return sum(pairs) / len(pairs) if pairs else 0.0

    assert energy_distance(x, y).item() == pytest.approx(2 * across - within(x.tolist()) - within(y.tolist()))


@given(seed=st.integers(0, 999))
def test_it_is_twice_the_mmd_of_the_kernel_that_the_distance_induces(seed):
    x, y = sets(seed)
    assert energy_distance(x, y).item() == pytest.approx(2 * mmd2_unbiased(DistanceInduced(), x, y).item(), abs=1e-12)


def test_it_is_zero_on_average_for_equal_laws_and_above_for_others():
    draws = [(noise(6, 2, seed=i), noise(9, 2, seed=10_000 + i)) for i in range(600)]
    equal = torch.stack([energy_distance(x, y) for x, y in draws])
    moved = torch.stack([energy_distance(x, y + 1) for x, y in draws])
    standard_error = equal.std() / math.sqrt(len(draws))
    assert equal.mean().abs() < 3 * standard_error
    assert moved.mean() > 10 * standard_error


@given(seed=st.integers(0, 999))
def test_it_is_symmetric_and_the_order_of_the_images_does_not_matter(seed):
    x, y = sets(seed)
    assert torch.allclose(energy_distance(x, y), energy_distance(y, x))
    assert torch.allclose(energy_distance(shuffled(x), y.flip(0)), energy_distance(x, y))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_its_gradient_equals_central_differences(n):
    x, y = sets(n=n)
    moving = x.clone().requires_grad_()
    by_autograd = torch.autograd.grad(energy_distance(moving, y), moving)[0]
    assert torch.allclose(by_autograd, central_differences(lambda x: energy_distance(x, y), x), atol=1e-8)


def test_equal_points_pull_at_nothing():
    x = torch.ones(3, 2).requires_grad_()
    assert (torch.autograd.grad(energy_distance(x, torch.ones(4, 2)), x)[0] == 0).all()


def test_a_single_point_has_no_pairs():
    assert mean_distance_within(noise(1, 3)) == 0


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_mean_over_all_pairs_has_the_zeros_of_a_point_to_itself_in_it(n):
    x, _ = sets(n=n)
    written_out = sum(math.dist(p, q) for p in x.tolist() for q in x.tolist()) / n**2
    assert mean_distance_of_all_pairs(x).item() == pytest.approx(written_out)
