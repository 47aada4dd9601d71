import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.domain.spec import Features
from tests.unit.worker.numbers import noise
from worker.guidance.features import FeatureMap, distance_error, projected, sketch

CPU = torch.device("cpu")
TAPS = (noise(5, 4, 6), noise(5, 2, 10, seed=1))


def dense(width, dimensions, seed=0):
    """The sketch as a matrix [dimensions, width]."""
    used = sketch(width, dimensions, CPU, seed=seed)
    matrix = torch.zeros(dimensions, width, dtype=torch.float64)
    matrix[used.bucket.long(), torch.arange(width)] = used.sign.double()
    return matrix


def test_tokens_are_the_hidden_states_themselves_one_tap_after_the_other():
    found = FeatureMap(Features.TOKENS, 64)
    assert torch.equal(found(TAPS), torch.cat([TAPS[0].flatten(1), TAPS[1].flatten(1)], 1))
    assert found.widths(TAPS) == (24, 20)


def test_pooled_features_are_the_mean_token_of_each_tap():
    found = FeatureMap(Features.POOLED, 64)
    assert torch.allclose(found(TAPS), torch.cat([TAPS[0].mean(1), TAPS[1].mean(1)], 1))
    assert found.widths(TAPS) == (6, 10)


def test_only_what_is_wider_is_projected():
    found = FeatureMap(Features.PROJECTED, 20)
    assert found.widths(TAPS) == (20, 20)
    assert torch.equal(found(TAPS)[:, 20:], TAPS[1].flatten(1))
    assert torch.allclose(found(TAPS)[:, :20].double(), TAPS[0].flatten(1).double() @ dense(24, 20).T, atol=1e-6)


@pytest.mark.parametrize("kind", Features)
@pytest.mark.parametrize(
    ("given", "wanted"), [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)]
)
def test_features_are_float32_at_least(kind, given, wanted):
    found = FeatureMap(kind, 8)
    low = tuple(tap.to(given) for tap in TAPS)
    assert found(low).dtype == wanted
    assert torch.equal(found(low), found(tuple(tap.to(wanted) for tap in low))), "nothing is added up in fewer bits"


@pytest.mark.parametrize("kind", Features)
def test_the_features_of_an_image_do_not_depend_on_its_place_in_the_batch(kind):
    found, order = FeatureMap(kind, 8), torch.tensor([3, 0, 4, 1, 2])
    assert torch.equal(found(tuple(tap[order] for tap in TAPS)), found(TAPS)[order])
    assert torch.equal(found(tuple(tap[2:3] for tap in TAPS)), found(TAPS)[2:3])


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


def test_the_error_of_distances_is_relative():
    x = torch.tensor([[0.0], [1.0], [3.0]])
    y = torch.tensor([[0.0], [1.1], [3.0]])
    assert distance_error(y, x) == pytest.approx((0.05, 0.1), abs=1e-6)  # 1.1/1, 3/3, 1.9/2


def test_equal_images_have_no_error():
    assert distance_error(torch.ones(3, 2), torch.ones(3, 4)) == (0.0, 0.0)
    assert distance_error(torch.ones(1, 2), torch.ones(1, 4)) == (0.0, 0.0)


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
