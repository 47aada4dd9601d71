"""One denoising pass of a batch, in parts where the device has no room for all of it."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from worker.backbones.base import Backbone, Conditions, Timestep
from worker.sampling.direction import Pull, StepState, Tap


def denoise(
    backbone: Backbone,
    x_t: Float[Tensor, "n c h w"],
    t: Timestep,
    earlier: Timestep | None,
    conditions: Conditions,
    cfg_scale: float,
    tap: Tap | None,
    batch: int,
) -> StepState:
    """The pass at x_t, with the tapped features and the way back from them.

    At most `batch` images at a time, each with and without its condition under classifier-free guidance. In one part, the
    graph of the pass itself leads back to x_t. In several, no graph is kept: a set objective knows what it asks of each part
    only after all of them, so the way back runs the blocks up to the tap once more.
    """
    if tap is None:
        parts = [backbone.denoise(x_t[rows], t, conditions[rows], cfg_scale, ()) for rows in parts_of(len(x_t), batch)]
        return StepState(x_t, t, earlier, torch.cat([part.prediction for part in parts]))
    if len(x_t) <= batch:
        return StepState(x_t, t, earlier, *_whole(backbone, x_t, t, conditions, cfg_scale, tap))
    parts = list(parts_of(len(x_t), batch))
    predictions, features = zip(
        *(_part(backbone, x_t[rows], t, conditions[rows], cfg_scale, tap) for rows in parts), strict=True
    )

    def pull(v: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
        return torch.cat([_pulled(backbone, x_t[rows], t, conditions[rows], tap, v[rows]) for rows in parts])

    return StepState(x_t, t, earlier, torch.cat(predictions), torch.cat(features), pull)


def features_of(
    backbone: Backbone, x_t: Float[Tensor, "n c h w"], t: Timestep, conditions: Conditions, tap: Tap
) -> Float[Tensor, "n d"]:
    """The tapped features of x_t, without the rest of the pass."""
    return tap.features(backbone.hidden(x_t, t, conditions, tap.blocks))


def timestep_zero(backbone: Backbone) -> Timestep:
    """That of images without noise."""
    return torch.zeros((), dtype=torch.float32 if backbone.flow else torch.int64)


def parts_of(count: int, batch: int) -> Iterator[slice]:
    """0..count-1 in slices of at most `batch`."""
    return (slice(start, min(start + batch, count)) for start in range(0, count, batch))


def _whole(
    backbone: Backbone, x_t: Tensor, t: Timestep, conditions: Conditions, cfg_scale: float, tap: Tap
) -> tuple[Tensor, Tensor, Pull]:
    """Prediction, features, and the way back along the graph of the pass."""
    x = x_t.detach().requires_grad_()
    with torch.enable_grad():
        denoised = backbone.denoise(x, t, conditions, cfg_scale, tap.blocks)
        features = tap.features(denoised.hidden)

    def pull(v: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
        return torch.autograd.grad(features, x, v)[0]

    return denoised.prediction, features.detach(), pull


def _part(
    backbone: Backbone, x_t: Tensor, t: Timestep, conditions: Conditions, cfg_scale: float, tap: Tap
) -> tuple[Tensor, Tensor]:
    """Prediction and features; the hidden states, which may be far larger, are not kept."""
    denoised = backbone.denoise(x_t, t, conditions, cfg_scale, tap.blocks)
    return denoised.prediction, tap.features(denoised.hidden)


def _pulled(backbone: Backbone, x_t: Tensor, t: Timestep, conditions: Conditions, tap: Tap, v: Tensor) -> Tensor:
    """v carried back to x_t through the blocks up to the tap, which run again."""
    x = x_t.detach().requires_grad_()
    with torch.enable_grad():
        features = features_of(backbone, x, t, conditions, tap)
    return torch.autograd.grad(features, x, v)[0]
