import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jaxtyping import TypeCheckError
from torch import Tensor

from tests.unit.worker.numbers import noise
from worker.kernels.functions import RBF, Linear, squared_distances

KERNELS = [Linear(), RBF(0.3), RBF(7.0)]
points = arrays(np.float64, (6, 3), elements=st.floats(-5, 5)).map(torch.from_numpy)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@given(x=points)
def test_a_gram_matrix_is_symmetric_and_positive_semidefinite(kernel, x: Tensor):
    gram = kernel.gram(x, x)
    assert torch.allclose(gram, gram.T, atol=1e-12)
    assert torch.linalg.eigvalsh(gram).min() >= -1e-11 * gram.diagonal().sum()


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_the_diagonal_is_that_of_the_gram_matrix(kernel):
    x = noise(6, 3, dtype=torch.float64)
    assert torch.allclose(kernel.diagonal(x), kernel.gram(x, x).diagonal(), rtol=1e-12)


def test_the_linear_kernel_is_the_inner_product():
    a, b = noise(4, 5, dtype=torch.float64), noise(3, 5, seed=1, dtype=torch.float64)
    written_out = [[sum(p * q for p, q in zip(x, y, strict=True)) for y in b.tolist()] for x in a.tolist()]
    assert torch.allclose(Linear().gram(a, b), torch.tensor(written_out, dtype=torch.float64))


def test_the_rbf_kernel_divides_the_squared_distance_by_twice_the_squared_bandwidth():
    a, b = noise(4, 5, dtype=torch.float64), noise(3, 5, seed=1, dtype=torch.float64)
    written_out = [[np.exp(-np.sum((x - y) ** 2) / (2 * 1.7**2)) for y in b.numpy()] for x in a.numpy()]
    assert torch.allclose(RBF(1.7).gram(a, b), torch.tensor(np.array(written_out)))


@pytest.mark.parametrize("bandwidth", [0.5, 2.0])
def test_points_one_bandwidth_apart_have_kernel_exp_of_minus_a_half(bandwidth):
    gram = RBF(bandwidth).gram(torch.zeros(1, 1), torch.full((1, 1), bandwidth))
    assert gram.item() == pytest.approx(np.exp(-0.5))


@pytest.mark.parametrize("bandwidth", [0.0, -1.0, float("inf"), float("nan")])
def test_a_bandwidth_that_is_no_positive_number_is_refused(bandwidth):
    with pytest.raises(ValueError, match="bandwidth"):
        RBF(bandwidth)


def test_squared_distances_keep_their_digits_far_from_the_origin():
    a, b = 1e4 + noise(20, 16), 1e4 + noise(30, 16, seed=1)
    exact = torch.cdist(a.double(), b.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
    assert torch.allclose(squared_distances(a, b).double(), exact, rtol=1e-5)


@given(x=points)
def test_squared_distances_are_never_negative_and_zero_between_a_point_and_itself(x: Tensor):
    distances = squared_distances(x, x)
    assert (distances >= 0).all()
    assert distances.diagonal().max() < 1e-12


def test_squared_distances_have_the_analytic_gradient_in_both_sets():
    a = noise(3, 2, dtype=torch.float64).requires_grad_()
    b = noise(4, 2, seed=1, dtype=torch.float64).requires_grad_()
    of_a, of_b = torch.autograd.grad(squared_distances(a, b).sum(), (a, b))
    difference = a[:, None] - b[None]
    assert torch.allclose(of_a, 2 * difference.sum(1))
    assert torch.allclose(of_b, -2 * difference.sum(0))


def test_feature_vectors_of_different_length_are_refused():
    with pytest.raises(TypeCheckError):
        RBF(1.0).gram(torch.zeros(2, 3), torch.zeros(2, 4))


@pytest.mark.parametrize("bandwidth", [5e-324, 1e-200, 1e-25, 1e-19, 1e-15, 1e15, 1e200, 1.7e308])
def test_no_bandwidth_is_too_small_or_too_large_for_a_gradient(bandwidth):
    a, b = noise(3, 16).requires_grad_(), noise(5, 16, seed=1)
    value = RBF(bandwidth).gram(a, a).sum() + RBF(bandwidth).gram(a, b).sum()
    value.backward()
    assert value.isfinite()
    assert a.grad is not None
    assert a.grad.isfinite().all()
