import pytest
import torch

from app.domain.spec import Objective
from tests.unit.worker.numbers import central_differences, noise
from worker.guidance.objectives import OBJECTIVES, mean_induced_distance
from worker.kernels.functions import RBF, Linear
from worker.kernels.mmd import mmd2_unbiased

KERNELS = [Linear(), RBF(1.5)]


def sets(n: int = 4):
    return noise(n, 3, dtype=torch.float64), 0.3 + noise(6, 3, seed=1, dtype=torch.float64)


def gradient(objective, kernel, synthetic, real):
    synthetic = synthetic.clone().requires_grad_()
    return torch.autograd.grad(objective(kernel, synthetic, real), synthetic)[0]


def test_every_objective_but_none_has_a_function():
    assert set(OBJECTIVES) == set(Objective) - {Objective.NONE}


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_the_gradient_equals_central_differences(objective, kernel, n):
    synthetic, real = sets(n)
    differences = central_differences(lambda x: objective(kernel, x, real), synthetic)
    assert torch.allclose(gradient(objective, kernel, synthetic, real), differences, atol=1e-8)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_a_synthetic_image_on_top_of_a_real_one_has_a_finite_gradient(objective):
    synthetic, real = sets()
    synthetic[0] = real[0]
    assert all(gradient(objective, kernel, synthetic, real).isfinite().all() for kernel in KERNELS)


def test_the_induced_distance_is_summed_over_synthetic_and_averaged_over_real_images():
    synthetic, real = sets()
    written_out = torch.stack([torch.dist(s, r) for s in synthetic for r in real]).sum() / len(real)
    assert torch.allclose(mean_induced_distance(Linear(), synthetic, real), written_out)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_under_the_induced_distance_an_image_does_not_know_of_the_others(kernel):
    synthetic, real = sets()
    together = gradient(mean_induced_distance, kernel, synthetic, real)
    alone = gradient(mean_induced_distance, kernel, synthetic[:1], real)
    assert torch.allclose(together[:1], alone, rtol=1e-12)


def test_under_mmd_synthetic_images_repel_each_other():
    out_of_reach = torch.full((2, 1), 1e3, dtype=torch.float64)
    g = -gradient(mmd2_unbiased, RBF(1.0), torch.tensor([[1.0], [0.5]], dtype=torch.float64), out_of_reach)
    assert g[0] > 0 > g[1]


def test_under_mmd_an_image_knows_of_the_others():
    synthetic, real = sets()
    moved = synthetic.clone()
    moved[1] += 1
    before, after = (gradient(mmd2_unbiased, RBF(1.5), x, real)[0] for x in (synthetic, moved))
    assert not torch.allclose(before, after)
