import math

import pytest
import torch

from app.domain.errors import InvalidSpec
from tests.unit.worker.numbers import noise
from worker.training.model import Architecture, build, noise_schedule, save

SMALL = Architecture(image_size=8, channels=1, classes=3, heads=2, head_dim=8, blocks=2)


def test_weights_follow_from_the_seed():
    first, again, other = (list(build(SMALL, seed).parameters()) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_building_leaves_the_global_generator_as_it_was():
    state = torch.random.get_rng_state()
    build(SMALL, 0)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_fresh_model_predicts_zero_and_each_block_is_the_identity():
    model, x, t, labels = build(SMALL, 0), noise(2, 1, 8, 8), torch.tensor([10, 900]), torch.tensor([0, 2])
    hidden = model.pos_embed(x)
    assert torch.equal(model(x, timestep=t, class_labels=labels).sample, torch.zeros_like(x))
    assert torch.equal(model.transformer_blocks[0](hidden, timestep=t, class_labels=labels), hidden)


def test_images_that_cannot_be_cut_into_patches_are_refused():
    with pytest.raises(InvalidSpec, match="patch_size: 9 pixels are not a multiple of 2"):
        Architecture(image_size=9, channels=1, classes=3)


def test_tokens_of_more_numbers_than_half_the_width_cannot_be_drawn():
    assert Architecture(image_size=32, channels=3, classes=10, heads=4, patch_size=8).inexpressible == (
        "tokens of 8 x 8 x 3 = 192 numbers in a model 128 wide (4 heads of 32) cannot express the prediction: at "
        "most half the width, 64 numbers, can be drawn; choose --patch-size 4 or --heads 12"
    )
    assert Architecture(image_size=32, channels=3, classes=10, heads=4, patch_size=4).inexpressible is None
    assert Architecture(image_size=32, channels=3, classes=10, heads=12, patch_size=8).inexpressible is None


def test_a_model_too_narrow_for_any_patch_needs_more_heads():
    reason = Architecture(image_size=32, channels=3, classes=10, heads=1, head_dim=4, patch_size=1).inexpressible
    assert reason is not None
    assert reason.endswith("choose --heads 2")


def test_the_index_that_makes_a_folder_a_backbone_is_written_last(tmp_path):
    (tmp_path / "scheduler").touch()
    with pytest.raises(AssertionError, match="should be a directory"):
        save(tmp_path, build(SMALL, 0), ["a", "b", "c"])
    assert not (tmp_path / "model_index.json").exists()


def test_the_schedule_is_the_squared_cosine():
    """alphas_cumprod_t = f(t) / f(0), f(t) = cos((t/T + 0.008) / 1.008 * pi/2)^2 (arXiv 2102.09672, eq. 17)."""

    def f(share: float) -> float:
        return math.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2

    alphas = noise_schedule().alphas_cumprod
    closed_form = [f((t + 1) / 1000) / f(0) for t in (0, 250, 500, 900)]
    assert alphas[[0, 250, 500, 900]].tolist() == pytest.approx(closed_form, rel=1e-3)
