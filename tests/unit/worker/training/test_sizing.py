import pytest

from app.domain.errors import InvalidSpec
from worker.datasets.library import Survey
from worker.training.sizing import (
    Wishes,
    architecture_for,
    default_heads,
    default_patch,
    default_size,
    described,
    refuse_inexpressible,
)


def surveyed(side: int, *, colour: bool) -> Survey:
    return Survey(("cat", "dog"), side, colour, "digest")


@pytest.mark.parametrize(
    ("side", "colour", "image_size", "patch_size", "heads"),
    [
        (8, False, 8, 2, 3),  # digits: the architecture of the backbone that ships
        (28, False, 28, 7, 4),  # MNIST
        (32, True, 32, 4, 4),  # CIFAR-10
        (96, True, 32, 4, 4),
        (3000, True, 32, 4, 4),
        (3, False, 4, 1, 3),
    ],
)
def test_the_model_follows_from_the_images(side, colour, image_size, patch_size, heads):
    chosen = architecture_for(surveyed(side, colour=colour), Wishes())
    assert (chosen.image_size, chosen.patch_size, chosen.heads) == (image_size, patch_size, heads)
    assert (chosen.channels, chosen.classes) == (3 if colour else 1, 2)


@pytest.mark.parametrize("image_size", range(4, 65))
@pytest.mark.parametrize("channels", [1, 3])
def test_every_size_has_a_model_that_can_draw_it(image_size, channels):
    chosen = architecture_for(surveyed(500, colour=True), Wishes(image_size=image_size, channels=channels))
    assert 2 * chosen.token_numbers <= chosen.width


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_patch_goes_by_the_heads_that_the_user_chose(heads, channels):
    chosen = architecture_for(surveyed(64, colour=True), Wishes(image_size=64, channels=channels, heads=heads))
    assert chosen.heads == heads
    assert 2 * chosen.token_numbers <= chosen.width


def test_the_heads_go_by_the_patch_that_the_user_chose():
    assert architecture_for(surveyed(64, colour=True), Wishes(patch_size=8)).heads == 15
    assert default_heads(8, 3) == 15
    assert default_heads(2, 1) == 3


def test_a_patch_that_the_chosen_heads_cannot_draw_is_refused_with_the_numbers():
    with pytest.raises(InvalidSpec, match=r"8 x 8 x 3 = 192 numbers in a model 128 wide .* --patch-size 4 or --heads 12"):
        refuse_inexpressible(architecture_for(surveyed(64, colour=True), Wishes(patch_size=8, heads=4)), steps=1)


def test_a_trial_of_a_few_steps_on_tiny_images_is_let_through_with_the_reason():
    tiny = architecture_for(surveyed(8, colour=True), Wishes(patch_size=4, heads=1))
    reason = refuse_inexpressible(tiny, steps=2)
    assert reason is not None
    assert reason.startswith("tokens of 4 x 4 x 3 = 48 numbers in a model 32 wide")
    with pytest.raises(InvalidSpec, match="48 numbers"):
        refuse_inexpressible(tiny, steps=100)
    assert refuse_inexpressible(architecture_for(surveyed(8, colour=False), Wishes()), steps=100) is None


def test_a_size_is_a_multiple_of_the_patch():
    assert [default_size(side, 5) for side in (2, 28, 96)] == [5, 30, 30]
    assert [default_size(side) for side in (1, 8, 27, 31, 33, 4000)] == [4, 8, 28, 32, 32, 32]


def test_small_images_are_cut_into_at_least_sixteen_tokens():
    assert [default_patch(size, 1) for size in (4, 8, 16, 32)] == [1, 2, 4, 8]


def test_two_channels_are_refused():
    with pytest.raises(InvalidSpec, match="channels"):
        architecture_for(surveyed(8, colour=False), Wishes(channels=2))


def test_what_was_chosen_is_described_with_its_options():
    found = surveyed(96, colour=True)
    told = described(found, architecture_for(found, Wishes()))
    for part in (
        "2 classes",
        "96 pixels",
        "32 x 32 pixels in colour",
        "64 tokens of 4 x 4 x 3 = 48 numbers, 128 wide",
        "--heads",
    ):
        assert part in told
