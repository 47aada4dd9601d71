import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from tests.unit.worker.kernels.every import DEFINITIONS, KERNELS, WITH_BANDWIDTH, shuffled
from tests.unit.worker.numbers import noise
from worker.kernels.distances import induced_distance, squared_induced_distance
from worker.kernels.kernels import RBF, Linear, MeanOfTaps, Polynomial

three_points = arrays(np.float64, (3, 3), elements=st.floats(-3, 3)).map(torch.from_numpy)


def euclidean(a: Tensor, b: Tensor) -> Tensor:
    return (a[:, None] - b[None]).square().sum(-1).sqrt()


def test_the_linear_kernel_induces_the_euclidean_distance():
    a, b = noise(5, 3, dtype=torch.float64), noise(4, 3, seed=1, dtype=torch.float64)
    assert torch.allclose(induced_distance(Linear(), a, b), euclidean(a, b))


def test_the_linear_kernels_distance_survives_features_far_larger_than_their_differences():
    a, b = noise(4, 64), noise(5, 64, seed=1)
    far = torch.zeros(64).index_fill(0, torch.tensor([3, 7]), 3000.0)
    assert torch.allclose(induced_distance(Linear(), a + far, b + far), induced_distance(Linear(), a, b), rtol=1e-3)


def test_the_rbf_kernel_induces_a_distance_that_saturates_at_the_root_of_two():
    a, b = noise(5, 3, dtype=torch.float64), noise(4, 3, seed=1, dtype=torch.float64)
    closed_form = (2 - 2 * torch.exp(-euclidean(a, b).square() / (2 * 0.8**2))).sqrt()
    assert torch.allclose(induced_distance(RBF(0.8), a, b), closed_form)
    assert torch.allclose(induced_distance(RBF(0.8), a, b + 1e3), torch.tensor(2.0, dtype=torch.float64).sqrt())


@pytest.mark.parametrize(("kernel", "k"), DEFINITIONS, ids=[str(kernel) for kernel in KERNELS])
def test_it_is_the_root_of_what_the_definition_gives_for_every_pair(kernel, k):
    a, b = noise(4, 3, dtype=torch.float64), noise(3, 3, seed=1, dtype=torch.float64)
    squares = torch.tensor(
        [[k(x, x) + k(y, y) - 2 * k(x, y) for y in b.numpy()] for x in a.numpy()],
        dtype=torch.float64,
    )
    assert torch.allclose(squared_induced_distance(kernel, a, b), squares)
    assert torch.allclose(induced_distance(kernel, a, b), squares.sqrt())


def in_float64(kernel, a: Tensor, b: Tensor) -> Tensor:
    """The squared distance from its definition, with digits enough for what float32 is asked below."""
    a, b = a.double(), b.double()
    return kernel.diagonal(a)[:, None] + kernel.diagonal(b)[None] - 2 * kernel.gram(a, b)


@pytest.mark.parametrize("medians", [1.0, 300.0, 3000.0])
@pytest.mark.parametrize("kernel", WITH_BANDWIDTH)
def test_a_kernel_far_wider_than_the_distances_keeps_their_digits_and_those_of_the_gradient(kernel, medians):
    a, b = noise(4, 16), noise(6, 16, seed=1)
    wide = kernel(medians * 5.6)  # two of these points are about 5.6 apart
    assert torch.allclose(squared_induced_distance(wide, a, b).double(), in_float64(wide, a, b), rtol=1e-4)
    slopes = [
        torch.autograd.grad(induced_distance(wide, x, y).sum(), x)[0].double()
        for x, y in ((a.clone().requires_grad_(), b), (a.double().requires_grad_(), b.double()))
    ]
    assert (slopes[0] - slopes[1]).norm() < 1e-4 * slopes[1].norm()


@pytest.mark.parametrize("kernel", [Polynomial(), MeanOfTaps((Polynomial(), RBF(1e4)), (32, 32))], ids=str)
def test_features_far_longer_than_their_differences_keep_the_digits_of_a_distance(kernel):
    near = 10 + noise(5, 64, dtype=torch.float64)
    a, b = (near + 1e-2 * noise(5, 64, seed=seed, dtype=torch.float64) for seed in (1, 2))
    exact = squared_induced_distance(kernel, a, b)
    assert torch.allclose(exact, in_float64(kernel, a, b), rtol=1e-6)
    assert torch.allclose(squared_induced_distance(kernel, a.float(), b.float()).double(), exact, rtol=1e-2)


class Product:
    """A kernel that does not know its distance."""

    def gram(self, a: Tensor, b: Tensor) -> Tensor:
        return a @ b.T

    def diagonal(self, a: Tensor) -> Tensor:
        return a.square().sum(1)


def test_a_kernel_that_does_not_know_its_distance_has_it_from_its_values():
    a, b = noise(4, 3, dtype=torch.float64), noise(3, 3, seed=1, dtype=torch.float64)
    assert torch.allclose(squared_induced_distance(Product(), a, b), squared_induced_distance(Linear(), a, b))


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@given(x=three_points)
@pytest.mark.slow
def test_it_is_symmetric_and_keeps_the_triangle_inequality(kernel, x: Tensor):
    d = induced_distance(kernel, x, x)
    rounding = 1e-6 * max(1.0, kernel.diagonal(x).max().sqrt().item())  # the root turns a rounding of 1e-14 into 1e-7
    rounding = max(rounding, 1e-3 if "Laplacian" in str(kernel) else 0.0)  # a second root turns that into 3e-4
    assert torch.allclose(d, d.T, atol=rounding)
    assert d[0, 2] <= d[0, 1] + d[1, 2] + rounding


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@given(x=three_points)
@pytest.mark.slow
def test_it_does_not_depend_on_the_order_of_the_points(kernel, x: Tensor):
    squares = squared_induced_distance(kernel, x, x)
    assert torch.allclose(squared_induced_distance(kernel, shuffled(x), x), shuffled(squares), atol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_a_point_is_no_distance_from_itself_and_its_gradient_is_a_number(kernel):
    x = noise(4, 3, dtype=torch.float64).requires_grad_()
    d = induced_distance(kernel, x, x.detach())
    assert d.diagonal().max() < (1e-6 if "Laplacian" not in str(kernel) else 1e-3)
    assert torch.autograd.grad(d.sum(), x)[0].isfinite().all()
