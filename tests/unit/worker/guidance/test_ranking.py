import pytest
import torch

from tests.unit.worker.numbers import noise
from worker.guidance.ranking import herding_order
from worker.kernels.functions import RBF, Linear
from worker.kernels.mmd import mmd2_biased

KERNEL = RBF(1.0)
synthetic, real = 1.5 * noise(12, 2, dtype=torch.float64), noise(200, 2, seed=1, dtype=torch.float64)


@pytest.mark.parametrize("kernel", [Linear(), KERNEL], ids=str)
@pytest.mark.parametrize("n", [1, 2, 12])
def test_every_image_has_one_place(kernel, n):
    assert sorted(herding_order(kernel, synthetic[:n], real)) == list(range(n))


def test_the_first_image_is_the_nearest_to_the_mean_embedding():
    alone = [mmd2_biased(KERNEL, one[None], real).item() for one in synthetic]
    assert herding_order(KERNEL, synthetic, real)[0] == min(range(12), key=alone.__getitem__)


def test_an_image_and_its_copy_are_kept_apart():
    synthetic = torch.tensor([[0.0], [0.0], [2.0]], dtype=torch.float64)
    real = torch.tensor([[0.0], [0.1], [2.0]], dtype=torch.float64)
    assert herding_order(RBF(0.5), synthetic, real) == [0, 2, 1]


@pytest.mark.parametrize("prefix", [1, 3, 6])
def test_a_prefix_is_nearer_to_the_real_images_than_a_prefix_of_the_reversed_order(prefix):
    order = herding_order(KERNEL, synthetic, real)
    best, worst = (mmd2_biased(KERNEL, synthetic[o[:prefix]], real) for o in (order, order[::-1]))
    assert best < worst
