import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.worker.numbers import noise
from worker.references.count_sketch import projected, sketch
from worker.references.feature_map import distance_error

CPU = torch.device("cpu")


def dense(width, dimensions, seed=0):
    """The sketch as a matrix [dimensions, width]."""
    used = sketch(width, dimensions, CPU, seed=seed)
    matrix = torch.zeros(dimensions, width, dtype=torch.float64)
    matrix[used.bucket.long(), torch.arange(width)] = used.sign.double()
    return matrix


@given(st.integers(2, 400), st.integers(1, 64), st.integers(0, 3))
def test_every_column_goes_to_one_bucket_and_buckets_differ_by_one_column_at_most(width, dimensions, seed):
    matrix = dense(width, dimensions, seed)
    assert (matrix.abs().sum(0) == 1).all()
    sizes = matrix.abs().sum(1)
    assert sizes.max() - sizes.min() <= 1


@given(st.integers(9, 200), st.integers(1, 8))
def test_a_projection_is_its_matrix(width, dimensions):
    x = noise(3, width, dtype=torch.float64)
    assert torch.allclose(projected(x, dimensions), x @ dense(width, dimensions).T)


def test_a_projection_is_linear():
    x, y = noise(3, 100, dtype=torch.float64), noise(3, 100, seed=1, dtype=torch.float64)
    assert torch.allclose(projected(2 * x - 3 * y, 16), 2 * projected(x, 16) - 3 * projected(y, 16))


def test_two_sets_share_one_projection():
    assert sketch(100, 16, CPU) is sketch(100, 16, CPU)
    x = noise(4, 100)
    assert torch.equal(projected(torch.cat([x, x]), 16)[4:], projected(x, 16))


def test_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    sketch(101, 16, CPU)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("width", [64, 67, 100])
def test_its_gradient_is_right(width):
    x = noise(2, width, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: projected(x, 16), x)


def test_its_gradient_is_that_of_the_matrix():
    x = noise(3, 100, dtype=torch.float64).requires_grad_()
    weights = noise(3, 16, seed=1, dtype=torch.float64)
    (found,) = torch.autograd.grad((projected(x, 16) ** 3 * weights).sum(), x)
    (expected,) = torch.autograd.grad(((x @ dense(100, 16).T) ** 3 * weights).sum(), x)
    assert torch.allclose(found, expected)


@pytest.mark.parametrize("spike", [0.0, 300.0], ids=["even", "one massive channel"])
@pytest.mark.slow
def test_squared_lengths_are_unbiased_and_within_the_bound(spike):
    """E|y|^2 = |x|^2 and Var|y|^2 = 2 P (|x|^4 - |x|_4^4) <= (2/k) |x|^4, P that of two columns to share a bucket."""
    width, k, seeds = 500, 16, 3000
    x = noise(width, dtype=torch.float64)
    x[7] += spike
    square = x @ x
    y2 = torch.stack([(dense(width, k, seed) @ x).square().sum() for seed in range(seeds)])
    sizes = dense(width, k).abs().sum(1)
    together = (sizes * (sizes - 1)).sum() / (width * (width - 1))
    variance = 2 * together * (square**2 - x.pow(4).sum())
    assert together <= 1 / k
    assert abs(y2.mean() - square) < 4 * (variance / seeds).sqrt()
    assert y2.var().item() == pytest.approx(variance.item(), rel=0.15)


@pytest.mark.parametrize("k", [64, 256, 1024])
def test_distances_keep_to_about_the_root_of_two_over_k(k):
    x = noise(24, 4000, dtype=torch.float64)
    y = projected(x, k)
    off = (torch.pdist(y) / torch.pdist(x)).square() - 1
    assert 0.7 * math.sqrt(2 / k) < off.square().mean().sqrt() < 1.3 * math.sqrt(2 / k)
    mean, largest = distance_error(y, x)
    assert mean == pytest.approx((torch.pdist(y) / torch.pdist(x) - 1).abs().mean().item())
    assert mean < largest < 5 * math.sqrt(1 / (2 * k))


@pytest.mark.gpu
def test_a_gpu_gives_the_same_bits_each_time_and_the_numbers_of_the_cpu():
    x = noise(64, 10_000, dtype=torch.float32)

    def both_ways(device):
        there = x.to(device).requires_grad_()
        y = projected(there, 512)
        (slope,) = torch.autograd.grad(y.square().sum(), there)
        return y.detach().cpu(), slope.cpu()

    once, again, cpu = both_ways("cuda"), both_ways("cuda"), both_ways("cpu")
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(once, cpu, strict=True))
