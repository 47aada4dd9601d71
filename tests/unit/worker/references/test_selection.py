import numpy as np
import pytest
import torch

from app.domain.spec.reference import ReferenceSelection
from tests.unit.worker.numbers import noise as some
from worker.references.selection import MOST_CANDIDATES, candidates, choose, choose_at_random, noise
from worker.seeds import generator, seed_of

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


@pytest.mark.parametrize("t", [0, 7, 999])
def test_a_whole_timestep_keeps_the_noise_it_always_had(t):
    before = torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed_of("reference-noise", "cat", t)))
    assert torch.equal(noise(SHAPE, "cat", torch.tensor(t).item()), before)


def test_the_timesteps_of_flow_matching_have_noise_of_their_own():
    one, near = (torch.tensor(t).item() for t in (937.5, 937.25))
    assert torch.equal(noise(SHAPE, "cat", one), noise(SHAPE, "cat", one))
    assert not torch.equal(noise(SHAPE, "cat", one), noise(SHAPE, "cat", near))


def test_another_use_has_noise_of_its_own():
    assert not torch.equal(noise(SHAPE, "cat", 7), noise(SHAPE, "cat", 7, use="probe-noise"))


def test_all_images_of_a_class_are_candidates_unless_there_are_too_many():
    assert candidates(MOST_CANDIDATES, "cat").tolist() == list(range(MOST_CANDIDATES))
    some = candidates(10 * MOST_CANDIDATES, "cat")
    assert len(some) == MOST_CANDIDATES
    assert (np.diff(some) > 0).all()
    assert 0 <= some[0] < some[-1] < 10 * MOST_CANDIDATES
    assert some[-1] > 9 * MOST_CANDIDATES, "from everywhere"


def test_the_candidates_follow_from_the_name_of_the_class():
    cat, again, dog = (candidates(2 * MOST_CANDIDATES, name) for name in ("cat", "cat", "dog"))
    assert np.array_equal(cat, again)
    assert not np.array_equal(cat, dog)


def test_a_random_choice_does_not_need_the_images():
    chosen = choose(latents, 8, ReferenceSelection.RANDOM, class_name="cat")
    assert np.array_equal(choose_at_random(30, 8, class_name="cat"), chosen)
    assert np.array_equal(chosen, np.sort(torch.randperm(30, generator=generator("reference", "cat"))[:8].numpy()))
