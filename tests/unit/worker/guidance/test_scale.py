import pytest
import torch

from app.domain.spec.guidance import ScaleMode
from tests.unit.worker.numbers import noise
from worker.guidance.scale import SCALES, norms, paper, relative, without_effect

SHAPE = (5, 2, 4, 4)


def test_every_mode_has_a_function():
    assert set(SCALES) == set(ScaleMode)


def test_the_paper_scale_is_the_raw_gradient_times_gamma():
    gradient = noise(*SHAPE)
    assert torch.equal(paper(gradient, noise(*SHAPE, seed=1), 3.0), 3.0 * gradient)


def test_the_relative_scale_is_as_long_as_gamma_steps_of_each_image_and_points_along_the_gradient():
    gradient, step = noise(*SHAPE, dtype=torch.float64), noise(*SHAPE, seed=1, dtype=torch.float64)
    step = step * torch.arange(1, 6)[:, None, None, None]
    guidance = relative(gradient, step, 0.7)
    assert torch.allclose(norms(guidance), 0.7 * norms(step))
    assert torch.allclose(guidance / norms(guidance)[:, None, None, None], gradient / norms(gradient)[:, None, None, None])


def test_an_image_without_gradient_is_left_alone_and_the_others_are_not():
    gradient, step = noise(*SHAPE), 100 * noise(*SHAPE, seed=1)
    gradient[2] = 0
    guidance = relative(gradient, step, 1.0)
    assert (guidance[2] == 0).all()
    assert torch.allclose(norms(guidance)[[0, 1, 3, 4]], norms(step)[[0, 1, 3, 4]])


@pytest.mark.parametrize("size", [1e-12, 1e-26, 1e-36, 1e-42])
def test_a_vanishing_gradient_never_makes_a_longer_step_than_gamma_allows(size):
    step = noise(*SHAPE, seed=1)
    guidance = relative(size * noise(*SHAPE), step, 1.0)
    assert guidance.isfinite().all()
    assert (norms(guidance) <= 1.001 * norms(step)).all()


def test_the_relative_scale_keeps_the_dtype():
    assert relative(noise(*SHAPE), noise(*SHAPE), 1.0).dtype == torch.float32


@pytest.mark.parametrize("mode", ScaleMode)
@pytest.mark.parametrize("size", [0.0, 1e-42])
def test_a_gradient_of_zero_or_less_than_float32_can_tell_is_without_effect(size, mode):
    gradient, step = noise(*SHAPE), noise(*SHAPE, seed=1)
    gradient[2] *= size
    assert without_effect(SCALES[mode](gradient, step, 0.8), gradient, step).tolist() == [False, False, True, False, False]


def test_a_small_gradient_counts_as_long_as_it_moves_an_image():
    gradient, step = 1e-20 * noise(*SHAPE), noise(*SHAPE, seed=1)
    assert not without_effect(relative(gradient, step, 0.8), gradient, step).any()
    assert without_effect(paper(gradient, step, 0.8), gradient, step).all()
