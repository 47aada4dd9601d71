import pytest
import torch

from tests.unit.worker.kernels.every import KERNELS
from tests.unit.worker.kernels.statistics import mmd2_biased
from tests.unit.worker.numbers import noise
from worker.guidance.ranking import herding_order
from worker.kernels.kernels import RBF, Linear

KERNEL = RBF(1.0)
synthetic, real = 1.5 * noise(12, 2, dtype=torch.float64), noise(200, 2, seed=1, dtype=torch.float64)


@pytest.mark.parametrize("kernel", [Linear(), KERNEL], ids=str)
@pytest.mark.parametrize("n", [1, 2, 12])
def test_every_image_has_one_place(kernel, n):
    assert sorted(herding_order(kernel, synthetic[:n], real)) == list(range(n))


@pytest.mark.parametrize("kernel", [*KERNELS[:2], KERNEL], ids=str)
def test_every_image_is_the_best_one_to_add_to_those_before(kernel):
    synthetic, real = 1.5 * noise(12, 3, dtype=torch.float64), 1 + noise(50, 3, seed=1, dtype=torch.float64)
    order = herding_order(kernel, synthetic, real)
    for taken in range(11):
        left = order[taken:]
        added = [mmd2_biased(kernel, synthetic[[*order[:taken], one]], real).item() for one in left]
        assert added[0] == pytest.approx(min(added), rel=1e-9)


def test_an_image_and_its_copy_are_kept_apart():
    synthetic = torch.tensor([[0.0], [0.0], [2.0]], dtype=torch.float64)
    real = torch.tensor([[0.0], [0.1], [2.0]], dtype=torch.float64)
    assert herding_order(RBF(0.5), synthetic, real) == [0, 2, 1]


@pytest.mark.parametrize("prefix", [1, 3, 6])
def test_a_prefix_is_nearer_to_the_real_images_than_a_prefix_of_the_reversed_order(prefix):
    order = herding_order(KERNEL, synthetic, real)
    best, worst = (mmd2_biased(KERNEL, synthetic[o[:prefix]], real) for o in (order, order[::-1]))
    assert best < worst
