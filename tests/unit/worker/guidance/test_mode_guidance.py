from dataclasses import replace

import pytest
import torch
from diffusers import DDPMScheduler

from app.domain.spec.sampling import Sampling
from tests.unit.worker import tiny
from tests.unit.worker.numbers import noise
from worker.guidance.base import StepState
from worker.guidance.mode_guidance import ModeGuidance
from worker.sampling.loop import sample

T, T_PREV = torch.tensor(400), torch.tensor(380)
REFERENCES = {label: noise(3, 1, 8, 8, seed=label, dtype=torch.float64).clamp(-1, 1) for label in (0, 1)}
TARGETS = tiny.targets(tiny.backbone(), tiny.spec(), (0, 1), REFERENCES)
MODES = torch.cat([REFERENCES[0][:2], REFERENCES[1][:2]])
LINEAR_STEPS = DDPMScheduler(**tiny.LINEAR)


@pytest.fixture(scope="module")
def one():
    return tiny.backbone(schedule=tiny.LINEAR)


def test_it_is_the_way_from_the_predicted_image_to_the_mode_of_its_row_times_sigma(one):
    x, eps = noise(4, 1, 8, 8, dtype=torch.float64), noise(4, 1, 8, 8, seed=1, dtype=torch.float64)
    abar, abar_prev = (LINEAR_STEPS.alphas_cumprod[t].item() for t in (T, T_PREV))
    sigma = ((1 - abar_prev) / (1 - abar) * (1 - abar / abar_prev)) ** 0.5
    written_out = sigma * (MODES - (x - (1 - abar) ** 0.5 * eps) / abar**0.5)
    assert torch.allclose(ModeGuidance(one, TARGETS)(StepState(x, T, T_PREV, eps)), written_out, rtol=1e-5)


def test_at_its_mode_an_image_is_left_alone(one):
    eps = noise(4, 1, 8, 8, seed=1, dtype=torch.float64)
    x = one.add_noise(MODES, eps, T)
    assert ModeGuidance(one, TARGETS)(StepState(x, T, T_PREV, eps)).abs().max() < 1e-6


def test_the_last_step_is_not_moved(one):
    x = noise(4, 1, 8, 8, dtype=torch.float64)
    assert (ModeGuidance(one, TARGETS)(StepState(x, T, None, x)) == 0).all()


def test_classes_may_stand_anywhere_in_the_batch(one):
    x, eps = noise(4, 1, 8, 8, dtype=torch.float64), noise(4, 1, 8, 8, seed=1, dtype=torch.float64)
    state = StepState(x, T, T_PREV, eps)
    assert torch.equal(ModeGuidance(one, TARGETS[::-1])(state), ModeGuidance(one, TARGETS)(state))


def test_a_class_without_modes_is_named(one):
    with pytest.raises(ValueError, match="'0' has no modes"):
        ModeGuidance(one, [replace(TARGETS[0], modes=None)])


@pytest.mark.parametrize("scheduler", tiny.NOISE_SCHEDULERS)
@pytest.mark.parametrize("guidance", [{"scale_mode": "paper", "scale": 0.5, "stop": 0.9}, {"scale": 0.8}], ids=str)
@pytest.mark.slow
def test_every_image_ends_nearer_to_its_own_mode_than_without(one, scheduler, guidance):
    sampling, conditions = Sampling(scheduler=scheduler, steps=10), one.conditions([0, 0, 1, 1])
    references = {label: reference.float() for label, reference in REFERENCES.items()}
    wanted = tiny.spec(guidance={"objective": "mode", **guidance})

    def distances(term):
        latents = sample(one, conditions, tiny.generators(4), sampling, guidance=term).latents
        return (latents - MODES).flatten(1).norm(dim=1)

    term = tiny.guidance(one, wanted, tiny.targets(one, wanted, (0, 1), references))
    assert (distances(term) < 0.9 * distances(None)).all()


def test_no_pass_records_anything_for_autograd(one, monkeypatch):
    recorded = []
    whole = one.denoise

    def watched(*arguments):
        recorded.append(torch.is_grad_enabled() or arguments[0].requires_grad)
        return whole(*arguments)

    monkeypatch.setattr(one, "denoise", watched)
    wanted = tiny.spec(guidance={"objective": "mode"})
    term = tiny.guidance(one, wanted, tiny.targets(one, wanted, (0,), {0: REFERENCES[0].float()}))
    sample(one, one.conditions([0, 0]), tiny.generators(2), Sampling(steps=3), guidance=term)
    assert recorded == [False] * 3
