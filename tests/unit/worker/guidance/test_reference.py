import numpy as np
import pytest
import torch

from app.domain.spec import ReferenceSelection
from tests.unit.worker.numbers import noise as some
from worker.guidance.reference import choose, noise

SHAPE = torch.Size((3, 1, 4, 4))
latents = some(30, 1, 4, 4)


@pytest.fixture(params=list(ReferenceSelection))
def selection(request):
    return request.param


def test_as_many_as_asked_for_are_chosen_in_ascending_order_and_each_once(selection):
    chosen = choose(latents, 8, selection, class_name="cat")
    assert len(chosen) == 8
    assert (np.diff(chosen) > 0).all()
    assert 0 <= chosen[0] < chosen[-1] < 30


@pytest.mark.parametrize("count", [30, 31])
def test_all_are_chosen_if_there_are_no_more(selection, count):
    assert choose(latents, count, selection, class_name="cat").tolist() == list(range(30))


def test_the_choice_follows_from_the_images_and_the_name_of_the_class(selection):
    once, again = (choose(latents, 8, selection, class_name="cat") for _ in range(2))
    assert np.array_equal(once, again)


def test_another_class_draws_another_random_choice():
    cat, dog = (choose(latents, 8, ReferenceSelection.RANDOM, class_name=name) for name in ("cat", "dog"))
    assert not np.array_equal(cat, dog)


def test_kmeans_takes_one_image_of_each_cluster():
    clusters = 100 * torch.arange(5).repeat(6)[:, None, None, None] + latents
    chosen = choose(clusters, 5, ReferenceSelection.KMEANS, class_name="cat")
    assert sorted(chosen % 5) == [0, 1, 2, 3, 4]


def test_kmeans_finds_enough_images_even_where_all_are_equal():
    assert len(choose(torch.zeros(20, 1, 4, 4), 5, ReferenceSelection.KMEANS, class_name="cat")) == 5


def test_the_noise_of_a_class_is_drawn_once_for_each_timestep():
    assert torch.equal(noise(SHAPE, "cat", 7), noise(SHAPE, "cat", 7))
    assert not torch.equal(noise(SHAPE, "cat", 7), noise(SHAPE, "cat", 8))
    assert not torch.equal(noise(SHAPE, "cat", 7), noise(SHAPE, "dog", 7))
