import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.domain.spec.guidance import Guidance, Objective
from tests.unit.worker.kernels.every import KERNELS, shuffled
from tests.unit.worker.kernels.statistics import mmd2_biased
from tests.unit.worker.numbers import central_differences, noise
from worker.guidance.objectives import (
    OBJECTIVES,
    energy,
    mean_induced_distance,
    mean_squared_induced_distance,
    mmd,
    objective_for,
)
from worker.kernels.kernels import RBF, Laplacian, Linear

FUNCTIONS = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=lambda objective: objective.__name__)
ALONE = [mean_induced_distance, mean_squared_induced_distance]


def sets(n: int = 4):
    return noise(n, 3, dtype=torch.float64), 0.3 + noise(6, 3, seed=1, dtype=torch.float64)


def gradient(objective, kernel, synthetic, real):
    synthetic = synthetic.clone().requires_grad_()
    return torch.autograd.grad(objective(kernel, synthetic, real), synthetic)[0]


def test_every_objective_in_feature_space_has_a_function():
    assert {objective for objective, _ in OBJECTIVES} == set(Objective) - {Objective.NONE, Objective.MODE}
    assert objective_for(Guidance()) is mmd
    asked = Guidance.model_validate({"objective": "induced-distance", "distance": "squared"})
    assert objective_for(asked) is mean_squared_induced_distance


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@FUNCTIONS
def test_the_gradient_equals_central_differences(objective, kernel, n):
    synthetic, real = sets(n)
    differences = central_differences(lambda x: objective(kernel, x, real), synthetic)
    assert torch.allclose(gradient(objective, kernel, synthetic, real), differences, atol=1e-8)


@FUNCTIONS
def test_a_synthetic_image_on_top_of_a_real_one_has_a_finite_gradient(objective):
    synthetic, real = sets()
    synthetic[0] = real[0]
    assert all(gradient(objective, kernel, synthetic, real).isfinite().all() for kernel in KERNELS)


def test_the_induced_distance_is_summed_over_synthetic_and_averaged_over_real_images():
    synthetic, real = sets()
    written_out = torch.stack([torch.dist(s, r) for s in synthetic for r in real]).sum() / len(real)
    assert torch.allclose(mean_induced_distance(Linear(), synthetic, real), written_out)


def test_the_squared_distance_under_the_linear_kernel_pulls_straight_to_the_mean():
    synthetic, real = sets()
    assert torch.allclose(gradient(mean_squared_induced_distance, Linear(), synthetic, real), 2 * (synthetic - real.mean(0)))


@pytest.mark.parametrize("objective", ALONE)
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_under_an_induced_distance_an_image_does_not_know_of_the_others(kernel, objective):
    synthetic, real = sets()
    together = gradient(objective, kernel, synthetic, real)
    alone = gradient(objective, kernel, synthetic[:1], real)
    assert torch.allclose(together[:1], alone, rtol=1e-9)


@FUNCTIONS
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@given(seed=st.integers(0, 999))
@pytest.mark.slow
def test_the_order_of_the_images_orders_the_gradient_and_changes_nothing_else(kernel, objective, seed):
    synthetic, real = (noise(n, 3, seed=seed + n, dtype=torch.float64) for n in (4, 6))
    pulled = gradient(objective, kernel, synthetic, real)
    assert torch.allclose(gradient(objective, kernel, shuffled(synthetic), real.flip(0)), shuffled(pulled), atol=1e-7)


@FUNCTIONS
@pytest.mark.parametrize("kernel", [RBF, Laplacian])
@pytest.mark.parametrize("bandwidth", [1e-200, 1e-3, 1e6, 1e200])
def test_no_bandwidth_makes_a_value_or_a_gradient_that_is_no_number(kernel, objective, bandwidth):
    synthetic, real = noise(2, 16), noise(2, 16, seed=1)
    assert objective(kernel(bandwidth), synthetic, real).isfinite()
    assert gradient(objective, kernel(bandwidth), synthetic, real).isfinite().all()


def energy_of_all_pairs(_kernel, x, y):
    """The energy distance as a V-statistic, from its definition."""
    return 2 * distances(x, y).mean() - distances(x, x).sum() / len(x) ** 2 - distances(y, y).sum() / len(y) ** 2


def distances(x, y):
    return (x[:, None] - y[None] + 1e-150).norm(dim=2)  # the root has no slope at 0


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_a_set_objective_has_the_gradient_of_the_distance_with_the_pairs_of_one_image(kernel, n):
    synthetic, real = sets(n)
    for objective, whole in ((mmd, mmd2_biased), (energy, energy_of_all_pairs)):
        assert torch.allclose(gradient(objective, kernel, synthetic, real), gradient(whole, kernel, synthetic, real), rtol=1e-9)


def test_under_the_linear_kernel_mmd_moves_all_images_by_the_difference_of_the_means():
    synthetic, real = sets()
    difference = 2 * (synthetic.mean(0) - real.mean(0)) / len(synthetic)
    assert torch.allclose(gradient(mmd, Linear(), synthetic, real), difference.expand_as(synthetic))


def test_under_mmd_synthetic_images_repel_each_other():
    out_of_reach = torch.full((2, 1), 1e3, dtype=torch.float64)
    g = -gradient(mmd, RBF(1.0), torch.tensor([[1.0], [0.5]], dtype=torch.float64), out_of_reach)
    assert g[0] > 0 > g[1]


def test_under_the_energy_distance_two_images_between_the_real_ones_part():
    either_side = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    g = -gradient(energy, Linear(), torch.tensor([[0.1], [-0.1]], dtype=torch.float64), either_side)
    assert g[0] > 0 > g[1]


@pytest.mark.parametrize("objective", [mmd, energy])
def test_under_a_set_objective_an_image_knows_of_the_others(objective):
    synthetic, real = sets()
    moved = synthetic.clone()
    moved[1] += 1
    before, after = (gradient(objective, RBF(1.5), x, real)[0] for x in (synthetic, moved))
    assert not torch.allclose(before, after)
