import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.unit.worker.kernels.every import KERNELS, shuffled
from tests.unit.worker.kernels.statistics import energy_biased, mmd2_biased
from tests.unit.worker.numbers import central_differences, noise
from worker.kernels.discrepancies import mean_distance_of_all_pairs, mean_of_pairs, mmd2_unbiased
from worker.kernels.kernels import RBF, Laplacian, Linear


def sets(seed: int = 0, n: int = 5, m: int = 7):
    return noise(n, 3, seed=seed, dtype=torch.float64), 0.5 + noise(m, 3, seed=seed + 10_000, dtype=torch.float64)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_the_biased_estimate_is_zero_for_equal_sets(kernel):
    """Up to a rounding; under a Laplacian kernel, whose distance is a root, up to the root of one."""
    x, _ = sets()
    rounding = 1e-7 if isinstance(kernel, Laplacian) else 1e-14
    assert mmd2_biased(kernel, x, x).item() == pytest.approx(0, abs=rounding)
    assert mmd2_biased(kernel, x, x.flip(0)).item() == pytest.approx(0, abs=rounding)


@given(seed=st.integers(0, 999))
@pytest.mark.slow
def test_the_biased_estimate_is_never_negative(seed):
    assert all(mmd2_biased(kernel, *sets(seed)) >= 0 for kernel in KERNELS)


def test_under_the_linear_kernel_the_biased_estimate_is_the_squared_distance_of_the_means():
    x, y = sets()
    assert torch.allclose(mmd2_biased(Linear(), x, y), (x.mean(0) - y.mean(0)).square().sum())


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_the_unbiased_estimate_is_the_double_sum_without_equal_indices(kernel):
    x, y = sets()
    n, m = len(x), len(y)

    def k(a, b):
        return kernel.gram(a[None], b[None]).item()

    within_x = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    across = sum(k(x[i], y[j]) for i in range(n) for j in range(m)) / (n * m)
    assert mmd2_unbiased(kernel, x, y).item() == pytest.approx(within_x + within_y - 2 * across)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.slow
def test_the_unbiased_estimate_is_zero_on_average_for_equal_laws_and_the_biased_one_is_not(kernel):
    draws = [(noise(6, 3, seed=i), noise(9, 3, seed=10_000 + i)) for i in range(600)]
    unbiased = torch.stack([mmd2_unbiased(kernel, x, y) for x, y in draws])
    biased = torch.stack([mmd2_biased(kernel, x, y) for x, y in draws])
    standard_error = unbiased.std() / math.sqrt(len(draws))
    assert unbiased.mean().abs() < 3 * standard_error
    assert biased.mean() > 10 * standard_error


@pytest.mark.parametrize("estimate", [mmd2_biased, mmd2_unbiased])
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@given(seed=st.integers(0, 999))
@pytest.mark.slow
def test_the_order_of_the_images_does_not_matter(kernel, estimate, seed):
    x, y = sets(seed)
    assert torch.allclose(estimate(kernel, shuffled(x), y.flip(0)), estimate(kernel, x, y), rtol=1e-9, atol=1e-7)


def test_two_gaussians_have_the_mmd_of_the_closed_form():
    """E exp(-|x-y|^2 / 2h^2) of unit Gaussians a shift s apart is (h^2 / (h^2 + 2))^(d/2) exp(-s^2 / (2 (h^2 + 2)))."""
    h, shift, n, d = 1.5, 1.0, 1500, 2
    x, y = noise(n, d, dtype=torch.float64), noise(n, d, seed=1, dtype=torch.float64)
    y[:, 0] += shift
    exact = 2 * (h**2 / (h**2 + 2)) ** (d / 2) * (1 - math.exp(-(shift**2) / (2 * (h**2 + 2))))
    assert mmd2_unbiased(RBF(h), x, y).item() == pytest.approx(exact, rel=0.1)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_a_single_point_has_no_pairs_and_only_attraction_is_left(kernel):
    x, y = sets(n=1)
    assert mean_of_pairs(kernel, x) == 0
    left = mean_of_pairs(kernel, y) - 2 * kernel.gram(x, y).mean()
    assert torch.equal(mmd2_unbiased(kernel, x, y), left)
    assert mmd2_biased(kernel, x, x) == pytest.approx(0, abs=1e-14)


class DistanceInduced:
    """K(a, b) = (|a| + |b| - |a - b|) / 2."""

    def gram(self, a: Tensor, b: Tensor) -> Tensor:
        return (a.norm(dim=1)[:, None] + b.norm(dim=1)[None] - (a[:, None] - b[None]).norm(dim=2)) / 2

    def diagonal(self, a: Tensor) -> Tensor:
        return a.norm(dim=1)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_mean_distance_of_all_pairs_has_the_zeros_of_a_point_to_itself_in_it(n):
    x, _ = sets(n=n)
    written_out = sum(math.dist(p, q) for p in x.tolist() for q in x.tolist()) / n**2
    assert mean_distance_of_all_pairs(x).item() == pytest.approx(written_out)


@given(seed=st.integers(0, 999))
def test_the_energy_distance_is_twice_the_mmd_of_the_kernel_that_the_distance_induces(seed):
    """Sejdinovic et al., Ann. Stat. 41, 2013, theorem 22."""
    x, y = sets(seed)
    assert energy_biased(x, y).item() == pytest.approx(2 * mmd2_biased(DistanceInduced(), x, y).item(), abs=1e-12)


@given(seed=st.integers(0, 999))
def test_the_energy_distance_is_symmetric_and_the_order_of_the_images_does_not_matter(seed):
    x, y = sets(seed)
    assert torch.allclose(energy_biased(x, y), energy_biased(y, x))
    assert torch.allclose(energy_biased(shuffled(x), y.flip(0)), energy_biased(x, y))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_gradient_of_the_energy_distance_equals_central_differences(n):
    x, y = sets(n=n)
    moving = x.clone().requires_grad_()
    by_autograd = torch.autograd.grad(energy_biased(moving, y), moving)[0]
    assert torch.allclose(by_autograd, central_differences(lambda x: energy_biased(x, y), x), atol=1e-8)


def test_equal_points_have_an_energy_distance_without_slope():
    x = torch.ones(3, 2).requires_grad_()
    assert (torch.autograd.grad(energy_biased(x, torch.ones(4, 2)), x)[0] == 0).all()
