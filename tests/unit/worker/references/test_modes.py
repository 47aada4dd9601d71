import pytest
import torch

from tests.unit.worker.numbers import noise
from worker.references.modes import modes

SPREAD = 100 * torch.arange(5.0).repeat(6)[:, None, None, None]
LATENTS = SPREAD + noise(30, 2, 4, 4)


def test_the_modes_are_the_means_of_the_clusters():
    found = modes(LATENTS, 5, class_name="cat")
    means = torch.stack([LATENTS[first::5].mean(0) for first in range(5)])
    assert found.dtype == LATENTS.dtype
    assert torch.allclose(found[found.flatten(1).mean(1).argsort()], means, atol=1e-3)


def test_a_single_mode_is_the_mean_of_the_class():
    assert torch.allclose(modes(LATENTS, 1, class_name="cat")[0], LATENTS.mean(0), rtol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_class_of_few_images_has_each_as_a_mode_and_then_again(n):
    few = LATENTS[:n]
    assert torch.equal(modes(few, 5, class_name="cat"), torch.cat([few] * 5)[:5])


def test_the_modes_follow_from_the_images_and_the_name_of_the_class():
    plain = noise(30, 1, 4, 4)
    assert torch.equal(modes(plain, 4, class_name="cat"), modes(plain, 4, class_name="cat"))
    assert not torch.equal(modes(plain, 4, class_name="cat"), modes(plain, 4, class_name="dog"))


def test_there_are_enough_modes_even_where_all_images_are_equal():
    assert torch.equal(modes(torch.ones(20, 1, 4, 4), 5, class_name="cat"), torch.ones(5, 1, 4, 4))


def test_clusters_do_not_depend_on_the_order_of_the_images():
    found, again = (modes(x, 5, class_name="cat").flatten(1).sort(0).values for x in (LATENTS, LATENTS.roll(7, 0)))
    assert torch.allclose(found, again, atol=1e-3)
