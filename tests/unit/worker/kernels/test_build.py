import sys

import pytest
import torch

from app.domain.spec.bandwidth import Kernel
from tests.unit.worker import tiny
from tests.unit.worker.numbers import noise
from worker.kernels.bandwidth import median_heuristic
from worker.kernels.build import WITH_BANDWIDTH, WITHOUT_BANDWIDTH, kernel_for, median_distances
from worker.kernels.kernels import RBF, InverseMultiquadric, Laplacian, Linear, Polynomial, RBFMixture

REAL = 2 * noise(6, 3)
MEDIAN = median_heuristic(REAL)


def test_every_kernel_has_a_function():
    assert set(WITH_BANDWIDTH) == {kernel for kernel in Kernel if kernel.has_bandwidth}
    assert set(WITHOUT_BANDWIDTH) == {kernel for kernel in Kernel if not kernel.has_bandwidth}


@pytest.mark.parametrize(
    ("fields", "kernel"),
    [
        ({"kernel": "linear"}, Linear()),
        ({"kernel": "polynomial"}, Polynomial()),
        ({"kernel": "laplacian", "kernel_bandwidth": 2}, Laplacian(2.0)),
        ({"kernel": "inverse-multiquadric", "kernel_bandwidth": 2}, InverseMultiquadric(2.0)),
        ({"kernel_bandwidth": 2.5}, RBF(2.5)),
        ({"kernel_bandwidth": [2, 4]}, RBFMixture((2.0, 4.0))),
        ({"kernel_bandwidth": "0.5x"}, RBF(0.5 * MEDIAN)),
        ({"kernel": "laplacian", "kernel_bandwidth": "3x"}, Laplacian(3 * MEDIAN)),
        ({"kernel": "inverse-multiquadric", "kernel_bandwidth": "1x"}, InverseMultiquadric(MEDIAN)),
        ({"kernel_bandwidth": ["0.5x", 4, "2x"]}, RBFMixture((0.5 * MEDIAN, 4.0, 2 * MEDIAN))),
        ({"kernel_bandwidth": "1e308x"}, RBF(sys.float_info.max)),
        ({"kernel_bandwidth": "1e-320x"}, RBF(sys.float_info.min)),
    ],
    ids=str,
)
def test_the_kernel_is_the_one_asked_for(fields, kernel):
    assert kernel_for(tiny.spec(**fields).kernel_choice, REAL, (3,)) == kernel


@pytest.mark.parametrize("kernel", WITH_BANDWIDTH)
def test_the_median_is_that_of_the_real_features_of_which_two_are_enough(kernel):
    for real in (REAL, REAL[:2]):
        assert kernel_for(tiny.spec(kernel=kernel).kernel_choice, real, (3,)) == WITH_BANDWIDTH[kernel](median_heuristic(real))


@pytest.mark.parametrize("bandwidth", ["median", "0.5x"])
def test_every_one_of_several_taps_has_a_median_of_its_own(bandwidth):
    both = torch.cat([REAL, 100 * REAL], 1)
    assert median_distances(both, (3, 3)) == pytest.approx((MEDIAN, 100 * MEDIAN))
    wanted = tiny.spec(kernel_bandwidth=bandwidth).kernel_choice
    kernel = kernel_for(wanted, both, (3, 3))
    alone = kernel_for(wanted, REAL, (3,)).gram(REAL, REAL)
    assert torch.allclose(kernel.gram(both, both), alone, atol=1e-5)  # both taps see the same, each in its own unit
    assert torch.equal(kernel.diagonal(both), torch.ones(6))
