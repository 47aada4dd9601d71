import pytest
import torch

from worker.references.thumbnails import SIDE, thumbnails


def test_small_latents_are_kept_as_they_are():
    latents = torch.randn(3, 2, 8, 8)
    assert torch.equal(thumbnails(latents), latents.flatten(1))


@pytest.mark.parametrize("side", [SIDE, 2 * SIDE, 100])
def test_however_large_the_latents_a_thumbnail_has_a_bound(side):
    assert thumbnails(torch.zeros(2, 4, side, side)).shape == (2, 4 * SIDE * SIDE)


def test_squares_are_averaged():
    latents = torch.arange(2 * SIDE, dtype=torch.float64).repeat(2 * SIDE, 1)[None, None]
    small = thumbnails(latents)
    assert small.dtype == torch.float32
    assert small[0, :3].tolist() == [0.5, 2.5, 4.5]
