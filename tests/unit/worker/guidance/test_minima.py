"""Where images end that follow a set objective: features of one number, whose ideal places are known.

The real features are normal. The n points that stand best for them are the quantiles (j - 1/2) / n.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from app.domain.spec.bandwidth import Kernel
from tests.unit.worker import tiny
from tests.unit.worker.kernels.statistics import energy_unbiased
from tests.unit.worker.numbers import noise
from worker.guidance.objectives import energy, mmd
from worker.kernels.build import kernel_for
from worker.kernels.discrepancies import mmd2_unbiased
from worker.kernels.kernels import Linear

STEPS = 120
LADDER = ("0.5x", "1x", "2x")
NARROW = [{"kernel": kernel} for kernel in Kernel if kernel.has_bandwidth] + [{"kernel_bandwidth": LADDER}]
WIDE = [{"kernel": kernel} for kernel in Kernel if not kernel.has_bandwidth] + [
    {"kernel": kernel, "kernel_bandwidth": "1000x"} for kernel in Kernel if kernel.has_bandwidth
]


def quantiles(n: int) -> Tensor:
    levels = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return torch.distributions.Normal(0.0, 1.0).icdf(levels)[:, None]


REAL = quantiles(60)
EDGE = REAL.max().item()


def end(objective: Callable[[Tensor], Tensor], n: int, seed: int) -> Tensor:
    """The points in ascending order after a descent from random places, its steps ever shorter and scaled as by `relative`."""
    x = noise(n, 1, seed=seed, dtype=torch.float64)
    for step in range(STEPS):
        x = x.detach().requires_grad_()
        gradient = torch.autograd.grad(objective(x), x)[0]
        x = x - 0.3 * (1 - step / STEPS) * gradient / gradient.abs().max().clamp_min(1e-300)
    return x.detach().sort(0).values


def under_mmd(fields, n: int, seed: int) -> Tensor:
    kernel = kernel_for(tiny.spec(**fields).kernel_choice, REAL, (1,))
    return end(lambda x: mmd(kernel, x, REAL), n, seed)


@pytest.mark.parametrize("n", [2, 5, 10])
@pytest.mark.parametrize("fields", NARROW, ids=str)
@pytest.mark.slow
def test_under_mmd_the_points_end_near_the_quantiles(fields, n):
    ended = under_mmd(fields, n, seed=n)
    assert (ended - quantiles(n)).abs().max() < 0.3
    assert ended.abs().max() < EDGE


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("n", [2, 5, 10])
@pytest.mark.slow
def test_under_the_energy_distance_the_points_end_at_the_quantiles(n, seed):
    """The distance is flat between two neighbours of the real points, so the points end anywhere between the nearest two."""
    ended = end(lambda x: energy(Linear(), x, REAL), n, seed)
    assert (ended - quantiles(n)).abs().max() < 0.1


@pytest.mark.parametrize("n", [1, 2, 5, 10])
@pytest.mark.parametrize("fields", WIDE, ids=str)
@pytest.mark.slow
def test_a_very_wide_kernel_or_one_without_bandwidth_has_a_minimum_among_the_real_points(fields, n):
    ended = under_mmd(fields, n, seed=0)
    assert ended.abs().max() < EDGE
    if n > 1:  # the polynomial kernel puts a single point where its square is nearest to the variance
        assert ended.mean().item() == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("n", [2, 5, 10])
def test_a_polynomial_kernel_finds_the_spread_too(n):
    ended = under_mmd({"kernel": Kernel.POLYNOMIAL}, n, seed=0)
    assert ended.var(correction=0).item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("n", [1, 2, 5, 10])
@pytest.mark.parametrize("objective", [mmd, energy])
def test_points_far_from_all_real_ones_go_back(objective, n):
    """Whatever their number, attraction is stronger than repulsion."""
    far = 50 + noise(n, 1, dtype=torch.float64)
    kernels = [kernel_for(tiny.spec(**fields).kernel_choice, REAL, (1,)) for fields in WIDE]
    for kernel in kernels:
        x = far.clone().requires_grad_()
        assert (torch.autograd.grad(objective(kernel, x, REAL), x)[0] > 0).all()


@pytest.mark.slow
def test_the_unbiased_estimates_would_drive_the_points_out():
    linear = end(lambda x: mmd2_unbiased(Linear(), x, REAL), 2, 0)
    distance = end(lambda x: energy_unbiased(x, REAL), 5, 0)
    assert linear.abs().max() > 2 * EDGE
    assert distance.abs().max() > 0.95 * EDGE
