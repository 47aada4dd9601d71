"""One pass of the backbone over a batch: the prediction, the tapped features, and their
vector-Jacobian product.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from worker.backbones.base import Backbone, Conditions, Timestep
from worker.guidance.base import StepState, Vjp
from worker.references.base import TapPoint
from worker.sampling.batching import parts_of


def tapped_pass(
    backbone: Backbone,
    x_t: Float[Tensor, "n c h w"],
    t: Timestep,
    t_prev: Timestep | None,
    conditions: Conditions,
    cfg_scale: float,
    tap: TapPoint | None,
    batch: int,
) -> StepState:
    """The pass at x_t. Without a tap, the prediction alone.

    A part has at most `batch` images, each with and without its condition under classifier-free
    guidance. One part keeps the graph of its pass for the vjp. Several parts keep no graph: a set
    objective knows the vector of each part only after all parts have run, so the vjp runs the
    blocks up to the tap again.
    """
    parts = list(parts_of(len(x_t), batch))
    if tap is None:
        passes = [backbone.denoise(x_t[rows], t, conditions[rows], cfg_scale, ()) for rows in parts]
        return StepState(x_t, t, t_prev, torch.cat([each.prediction for each in passes]))
    if len(parts) == 1:
        return StepState(x_t, t, t_prev, *_with_graph(backbone, x_t, t, conditions, cfg_scale, tap))
    predictions, features = zip(
        *(_without_graph(backbone, x_t[rows], t, conditions[rows], cfg_scale, tap) for rows in parts), strict=True
    )

    def vjp(v: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
        return torch.cat([_recomputed_vjp(backbone, x_t[rows], t, conditions[rows], tap, v[rows]) for rows in parts])

    return StepState(x_t, t, t_prev, torch.cat(predictions), torch.cat(features), vjp)


def features_of(
    backbone: Backbone, x_t: Float[Tensor, "n c h w"], t: Timestep, conditions: Conditions, tap: TapPoint
) -> Float[Tensor, "n d"]:
    """The tapped features of x_t. The blocks after the tap do not run."""
    return tap.feature_map(backbone.hidden(x_t, t, conditions, tap.block_numbers))


def _with_graph(
    backbone: Backbone, x_t: Tensor, t: Timestep, conditions: Conditions, cfg_scale: float, tap: TapPoint
) -> tuple[Tensor, Tensor, Vjp]:
    x = x_t.detach().requires_grad_()
    with torch.enable_grad():
        denoised = backbone.denoise(x, t, conditions, cfg_scale, tap.block_numbers)
        features = tap.feature_map(denoised.hidden)

    def vjp(v: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
        return torch.autograd.grad(features, x, v)[0]

    return denoised.prediction, features.detach(), vjp


def _without_graph(
    backbone: Backbone, x_t: Tensor, t: Timestep, conditions: Conditions, cfg_scale: float, tap: TapPoint
) -> tuple[Tensor, Tensor]:
    """Prediction and features. The hidden states, which may be far larger, are not kept."""
    denoised = backbone.denoise(x_t, t, conditions, cfg_scale, tap.block_numbers)
    return denoised.prediction, tap.feature_map(denoised.hidden)


def _recomputed_vjp(backbone: Backbone, x_t: Tensor, t: Timestep, conditions: Conditions, tap: TapPoint, v: Tensor) -> Tensor:
    x = x_t.detach().requires_grad_()
    with torch.enable_grad():
        features = features_of(backbone, x, t, conditions, tap)
    return torch.autograd.grad(features, x, v)[0]
