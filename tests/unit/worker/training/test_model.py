import math

import pytest
import torch

from app.domain.errors import InvalidSpec
from tests.unit.worker.numbers import noise
from worker.training.model import Architecture, build, noise_schedule

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


def test_the_schedule_is_the_squared_cosine():
    """alphas_cumprod_t = f(t) / f(0), f(t) = cos((t/T + 0.008) / 1.008 * pi/2)^2 (arXiv 2102.09672, eq. 17)."""

    def f(share: float) -> float:
        return math.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2

    alphas = noise_schedule().alphas_cumprod
    closed_form = [f((t + 1) / 1000) / f(0) for t in (0, 250, 500, 900)]
    assert alphas[[0, 250, 500, 900]].tolist() == pytest.approx(closed_form, rel=1e-3)
