import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jaxtyping import TypeCheckError
from torch import Tensor

from tests.unit.worker.kernels.every import DEFINITIONS, KERNELS, WITH_BANDWIDTH, shuffled
from tests.unit.worker.numbers import central_differences, noise
from worker.kernels.kernels import (
    RBF,
    InverseMultiquadric,
    Laplacian,
    Polynomial,
    RBFMixture,
    euclidean_distances,
    squared_distances,
)

ROUNDED_ROOT = 1e-6  # the root of a squared distance turns a rounding of 1e-14 into 1e-7
points = arrays(np.float64, (6, 3), elements=st.floats(-5, 5)).map(torch.from_numpy)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@given(x=points)
@pytest.mark.slow
def test_a_gram_matrix_is_symmetric_and_positive_semidefinite(kernel, x: Tensor):
    gram = kernel.gram(x, x)
    assert torch.allclose(gram, gram.T, rtol=1e-12, atol=1e-12 if not isinstance(kernel, Laplacian) else ROUNDED_ROOT)
    rounding = 1e-11 if not isinstance(kernel, Laplacian) else ROUNDED_ROOT
    assert torch.linalg.eigvalsh(gram).min() >= -rounding * gram.diagonal().sum()


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_the_diagonal_is_that_of_the_gram_matrix(kernel):
    x = noise(6, 3, dtype=torch.float64)
    assert torch.allclose(kernel.diagonal(x), kernel.gram(x, x).diagonal(), rtol=ROUNDED_ROOT)


@pytest.mark.parametrize(("kernel", "definition"), DEFINITIONS, ids=[str(kernel) for kernel in KERNELS])
def test_a_gram_matrix_is_the_definition_written_out_for_every_pair(kernel, definition):
    a, b = noise(4, 3, dtype=torch.float64), noise(3, 3, seed=1, dtype=torch.float64)
    written_out = [[definition(x, y) for y in b.numpy()] for x in a.numpy()]
    assert torch.allclose(kernel.gram(a, b), torch.tensor(written_out, dtype=torch.float64), rtol=1e-10)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@given(x=points)
@pytest.mark.slow
def test_the_order_of_the_points_orders_rows_and_columns_and_changes_no_value(kernel, x: Tensor):
    gram = kernel.gram(x, x)
    assert torch.allclose(kernel.gram(shuffled(x), x), shuffled(gram), rtol=1e-9, atol=ROUNDED_ROOT)
    assert torch.allclose(kernel.gram(x, shuffled(x)), shuffled(gram.T).T, rtol=1e-9, atol=ROUNDED_ROOT)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_the_gradient_of_a_gram_matrix_equals_central_differences(kernel):
    a, b = noise(3, 3, dtype=torch.float64), noise(5, 3, seed=1, dtype=torch.float64)
    weights = noise(3, 5, seed=2, dtype=torch.float64)
    moving = a.clone().requires_grad_()
    by_autograd = torch.autograd.grad((weights * kernel.gram(moving, b)).sum(), moving)[0]
    assert torch.allclose(by_autograd, central_differences(lambda x: (weights * kernel.gram(x, b)).sum(), a), atol=1e-8)


@pytest.mark.parametrize("bandwidth", [0.5, 2.0])
def test_points_one_bandwidth_apart_have_kernel_exp_of_minus_a_half(bandwidth):
    gram = RBF(bandwidth).gram(torch.zeros(1, 1), torch.full((1, 1), bandwidth))
    assert gram.item() == pytest.approx(np.exp(-0.5))


@pytest.mark.parametrize(
    ("kernel", "value"),
    [(RBF, np.exp(-0.5)), (Laplacian, np.exp(-1)), (InverseMultiquadric, 1.5**-0.5)],
    ids=["rbf", "laplacian", "inverse-multiquadric"],
)
def test_what_a_kernel_is_one_bandwidth_away(kernel, value):
    gram = kernel(2.5).gram(torch.zeros(1, 2), torch.tensor([[1.5, 2.0]]))
    assert gram.item() == pytest.approx(value)


def test_a_ladder_of_one_rung_is_that_rbf():
    a, b = noise(4, 5), noise(3, 5, seed=1)
    assert torch.equal(RBFMixture((1.7,)).gram(a, b), RBF(1.7).gram(a, b))


def test_the_base_of_the_polynomial_does_not_grow_with_the_number_of_features():
    few, many = torch.ones(1, 4), torch.ones(1, 4096)
    assert Polynomial().gram(few, few).item() == pytest.approx(Polynomial().gram(many, many).item()) == pytest.approx(8)


@pytest.mark.parametrize("bandwidth", [0.0, -1.0, float("inf"), float("nan")])
@pytest.mark.parametrize("kernel", WITH_BANDWIDTH)
def test_a_bandwidth_that_is_no_positive_number_is_refused(kernel, bandwidth):
    with pytest.raises(ValueError, match="bandwidth"):
        kernel(bandwidth)


def test_a_ladder_has_a_rung():
    with pytest.raises(ValueError, match="at least one"):
        RBFMixture(())


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


@given(x=points)
def test_euclidean_distances_are_a_metric(x: Tensor):
    distances = euclidean_distances(x, x)
    assert torch.allclose(distances, distances.T, atol=ROUNDED_ROOT)
    assert distances.diagonal().max() < ROUNDED_ROOT
    assert (distances[0, 2] <= distances[0] + distances[:, 2] + ROUNDED_ROOT).all()


def test_euclidean_distances_have_the_unit_vector_as_gradient_and_none_between_equal_points():
    a, b = noise(1, 3, dtype=torch.float64), noise(1, 3, seed=1, dtype=torch.float64)
    a.requires_grad_()
    of_a = torch.autograd.grad(euclidean_distances(a, b).sum(), a)[0]
    assert torch.allclose(of_a, (a - b) / torch.dist(a, b))
    assert (torch.autograd.grad(euclidean_distances(a, a.detach()).sum(), a)[0] == 0).all()


@pytest.mark.parametrize("bandwidth", [5e-324, 1e-200, 1e-25, 1e-19, 1e-15, 1e15, 1e200, 1.7e308])
@pytest.mark.parametrize("kernel", WITH_BANDWIDTH)
def test_no_bandwidth_is_too_small_or_too_large_for_a_gradient(kernel, bandwidth):
    a, b = noise(3, 16).requires_grad_(), noise(5, 16, seed=1)
    value = kernel(bandwidth).gram(a, a).sum() + kernel(bandwidth).gram(a, b).sum()
    value.backward()
    assert value.isfinite()
    assert a.grad is not None
    assert a.grad.isfinite().all()
