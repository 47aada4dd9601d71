"""Hidden states of every family of model, and what autograd records on the way to them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.unit.worker import tiny, tiny_text
from tests.unit.worker.numbers import noise
from worker.backbones.base import Conditions
from worker.backbones.diffusion import DiffusionBackbone

pytestmark = pytest.mark.slow

T = torch.tensor(500)
FAMILIES: dict[str, Callable[[torch.dtype], DiffusionBackbone]] = {
    "dit": lambda dtype: tiny.backbone(model=tiny.transformer().to(dtype)),
    "stable-diffusion": lambda dtype: tiny_text.stable_diffusion(dtype=dtype),
    "stable-diffusion-3": lambda dtype: tiny_text.stable_diffusion_3(dtype=dtype),
}
CASES = [(family, taps) for family in FAMILIES for taps in [(1,), (2,), (3,), (1, 2), (1, 2, 3)]]
every_family = pytest.mark.parametrize("family", FAMILIES)
every_tap = pytest.mark.parametrize(("family", "taps"), CASES, ids=[f"{family}-{taps}" for family, taps in CASES])


def prepared(family: str, dtype: torch.dtype = torch.float32) -> tuple[DiffusionBackbone, Tensor, Conditions]:
    one = FAMILIES[family](dtype)
    return one, noise(2, *one.latent_shape), one.conditions(["a cat", "a dog"] if one.info.prompted else [1, 2])


@every_tap
def test_hidden_states_are_those_of_the_full_pass_as_tokens(family, taps):
    one, x, conditions = prepared(family)
    seen: list[Tensor] = []
    hooks = [
        one._blocks[tap - 1].register_forward_hook(lambda _m, _i, output: seen.append(one._hidden(output))) for tap in taps
    ]
    full = one.denoise(x, T, conditions, 1.0, ()).prediction
    for hook in hooks:
        hook.remove()
    denoised, hidden = one.denoise(x, T, conditions, 1.0, taps), one.hidden(x, T, conditions, taps)
    assert len(seen) == len(denoised.hidden) == len(hidden) == len(taps)
    for expected, tapped, alone in zip(seen, denoised.hidden, hidden, strict=True):
        assert (expected.ndim, len(expected)) == (3, 2)
        assert torch.equal(expected, tapped)
        assert torch.equal(expected, alone)
    assert torch.equal(denoised.prediction, full)


@every_tap
@pytest.mark.parametrize("cfg_scale", [1.0, 3.0])
def test_nothing_past_the_last_tap_is_recorded(family, taps, cfg_scale):
    one, x, conditions = prepared(family)
    recorded: list[bool] = []
    for block in one._model.modules():
        block.register_forward_hook(lambda _module, _inputs, _output: recorded.append(torch.is_grad_enabled()))
    denoised = one.denoise(x.requires_grad_(), T, conditions, cfg_scale, taps)
    assert recorded == sorted(recorded, reverse=True)
    assert any(recorded)
    assert not all(recorded)
    assert torch.is_grad_enabled()
    assert not denoised.prediction.requires_grad
    assert all(hidden.requires_grad for hidden in denoised.hidden)
    assert all(weight.grad is None and not weight.requires_grad for weight in one._model.parameters())


@every_tap
def test_the_gradient_through_the_taps_is_that_of_full_autograd(family, taps):
    one, x, conditions = prepared(family)
    weights: list[Tensor] = []

    def loss(hidden: tuple[Tensor, ...]) -> Tensor:
        weights.extend(noise(*one.shape, seed=7) for one in hidden[len(weights) :])
        return torch.stack([(weight * one).sum() for weight, one in zip(weights, hidden, strict=True)]).sum()

    seen: list[Tensor] = []
    hooks = [
        one._blocks[tap - 1].register_forward_hook(lambda _m, _i, output: seen.append(one._hidden(output))) for tap in taps
    ]
    one._pass(x.requires_grad_(), T, conditions.given)
    for hook in hooks:
        hook.remove()
    full = torch.autograd.grad(loss(tuple(seen)), x)[0]
    through_denoise = torch.autograd.grad(loss(one.denoise(x, T, conditions, 3.0, taps).hidden), x)[0]
    through_hidden = torch.autograd.grad(loss(one.hidden(x, T, conditions, taps)), x)[0]
    assert full.abs().sum() > 0
    assert torch.allclose(through_denoise, full, atol=1e-6)  # where several taps meet, sums may be in another order
    assert torch.allclose(through_hidden, full, atol=1e-6)


@every_family
def test_without_taps_nothing_is_recorded_though_the_input_asks_for_it(family):
    one, x, conditions = prepared(family)
    denoised = one.denoise(x.requires_grad_(), T, conditions, 3.0, ())
    assert denoised.hidden == ()
    assert not denoised.prediction.requires_grad


@every_family
def test_hidden_states_stop_at_the_last_tap(family):
    one, x, conditions = prepared(family)
    ran: list[int] = []
    for number, block in enumerate(one._blocks, 1):
        block.register_forward_hook(lambda _module, _inputs, _output, number=number: ran.append(number))
    one.hidden(x, T, conditions, (2,))
    assert ran == [1, 2]


@every_family
def test_no_hook_is_left_behind_even_by_a_pass_that_fails(family):
    one, x, conditions = prepared(family)
    too_many_channels = x.repeat(1, 2, 1, 1)
    with pytest.raises(RuntimeError):
        one.denoise(too_many_channels, T, conditions, 1.0, (1,))
    with pytest.raises(RuntimeError):
        one.hidden(too_many_channels, T, conditions, (1,))
    one.denoise(x, T, conditions, 1.0, (1,))
    one.hidden(x, T, conditions, (1,))
    assert not any(block._forward_hooks for block in one._blocks)


@every_family
def test_half_precision_stays_finite_and_its_latents_and_hidden_states_are_float32(family):
    one, x, conditions = prepared(family, torch.bfloat16)
    denoised = one.denoise(x.requires_grad_(), T, conditions, 3.0, (1, 2))
    gradient = torch.autograd.grad(torch.stack([hidden.square().mean() for hidden in denoised.hidden]).sum(), x)[0]
    assert one.dtype == torch.bfloat16
    for result in (denoised.prediction, gradient, *denoised.hidden):
        assert result.dtype == one.latent_dtype == torch.float32
        assert result.isfinite().all()


@every_family
def test_a_float64_model_has_float64_latents(family):
    one, x, conditions = prepared(family, torch.float64)
    denoised = one.denoise(x, T, conditions, 3.0, (1,))
    assert one.latent_dtype == denoised.prediction.dtype == denoised.hidden[0].dtype == torch.float64
