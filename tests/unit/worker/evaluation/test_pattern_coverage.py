import numpy as np
import pytest
import torch

from tests.unit.worker.numbers import noise
from worker.evaluation.metrics import class_metrics
from worker.evaluation.pattern_coverage import expected_coverage, pattern_coverage


def smooth(count: int, seed: int) -> torch.Tensor:
    """Images of 12 x 12 pixels with means and contrasts of their own, of one law that white noise does not have."""
    waves = torch.nn.functional.interpolate(noise(count, 1, 3, 3, seed=seed), size=12, mode="bilinear")
    return ((0.5 + 0.1 * noise(count, 1, seed=seed + 1)) * waves.flatten(1) + 0.2 * noise(count, 1, seed=seed + 2)).float()


def ratio(synthetic: torch.Tensor, real: torch.Tensor) -> float:
    found = pattern_coverage(synthetic, real)
    return (found["pattern_coverage"] or 0.0) / (found["pattern_coverage_expected"] or 1.0)


@pytest.mark.parametrize(("images", "real"), [(1, 128), (10, 128), (50, 128), (3, 20)])
@pytest.mark.parametrize("dimensions", [2, 300])
@pytest.mark.slow
def test_as_many_real_images_have_the_expected_coverage_in_any_dimension(images, real, dimensions):
    g = torch.Generator().manual_seed(images)
    found = [
        class_metrics(torch.randn(images, dimensions, generator=g), torch.randn(real, dimensions, generator=g))["coverage"] or 0
        for _ in range(200)
    ]
    assert expected_coverage(images, real) == pytest.approx(np.mean(found), rel=0.25)


@pytest.mark.parametrize(("contrast", "brightness"), [(1.0, 0.0), (1.6, 0.0), (0.5, 0.0), (1.3, 0.4)])
def test_contrast_and_brightness_change_nothing(contrast, brightness):
    real, others = smooth(128, 0), smooth(20, 10)
    assert ratio(contrast * others + brightness, real) == pytest.approx(ratio(others, real), abs=0.03)
    assert ratio(others, real) > 0.6


@pytest.mark.parametrize("scale", [0.05, 0.5, 2.0])
def test_noise_covers_nothing_however_small_it_is(scale):
    assert ratio(scale * noise(50, 144).float(), smooth(128, 0)) == 0


@pytest.mark.parametrize("value", [0.0, 0.1, -1.0])
def test_blank_images_cover_nothing(value):
    assert ratio(torch.full((50, 144), value), smooth(128, 0)) == 0


def test_copies_among_the_real_images_count_once():
    real, others = smooth(40, 0), smooth(10, 10)
    copied = torch.cat([real, real[:8].repeat(10, 1), torch.zeros(9, 144)])
    assert pattern_coverage(others, copied) == pattern_coverage(others, real)


def test_too_few_different_real_images_have_no_neighbourhoods():
    missing = {"pattern_coverage": None, "pattern_coverage_expected": None}
    assert pattern_coverage(smooth(10, 10), smooth(5, 0).repeat(20, 1)) == missing
    assert pattern_coverage(smooth(10, 10), smooth(6, 0).repeat(20, 1)) != missing
