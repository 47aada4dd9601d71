"""The one sampling loop: reverse diffusion of a batch, guided or not."""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from app.domain.errors import InvalidSpec
from app.domain.spec import Sampling
from worker.backbones.base import Backbone, Conditions
from worker.backbones.precision import not_finite
from worker.guidance.scale import norms
from worker.sampling.denoise import denoise
from worker.sampling.guide import Guide

SMALLER_SCALE = "choose a smaller guidance.scale if it is finite without guidance"

OnStep = Callable[[int, int], None]


@dataclass(frozen=True)
class Sampled:
    """Latents x_0, and for each step the mean over the batch of |guidance| / |scheduler step| (0 where unguided)."""

    latents: Float[Tensor, "n c h w"]
    guidance_ratio: tuple[float, ...]


@torch.no_grad()
def sample(
    backbone: Backbone,
    conditions: Conditions,
    generators: Sequence[torch.Generator],
    sampling: Sampling,
    *,
    guide: Guide | None = None,
    batch: int | None = None,
    on_step: OnStep | None = None,
) -> Sampled:
    """Images under the given conditions: x_{t-1} = scheduler_step(x_t) + scaled g_t (DAP, Algorithm 1).

    Every image draws its noise from its own generator, so it does not depend on its place in a batch. A pass has at most
    `batch` of them, twice over under classifier-free guidance: same images, to rounding. `on_step(done, steps)` is called after
    each step and may raise to stop.
    Raises InvalidSpec naming `guidance.scale` if guidance diverges, BackboneRejected if the model itself
    does, which after a guided step may be due to the scale, and says so.
    """
    scheduler = backbone.scheduler(sampling)
    noise = {"generator": list(generators)} if "generator" in inspect.signature(scheduler.step).parameters else {}
    x_t = initial_noise(backbone, generators)
    ratios = []
    hint = f" ({SMALLER_SCALE})" if guide is not None else ""
    finite = torch.ones((), dtype=torch.bool, device=x_t.device)  # clipping would make a number of an infinite prediction
    for step, t in enumerate(scheduler.timesteps):
        active = guide if guide is not None and guide.active(step, sampling.steps) else None
        earlier = scheduler.timesteps[step + 1] if step + 1 < sampling.steps else None
        tap = active.tap if active else None
        state = denoise(backbone, x_t, t, earlier, conditions, sampling.cfg_scale, tap, batch or len(x_t))
        finite &= state.prediction.isfinite().all()
        if step == 0 and not finite:  # later steps are looked at together: to wait for each would keep a GPU idle
            raise not_finite(backbone.name, backbone.dtype, "at step 1")
        previous = scheduler.step(state.prediction, t, x_t, **noise).prev_sample
        ratios.append(0.0)
        if active is not None:
            guidance = active.guidance(state, previous - x_t)
            ratios[-1] = float((norms(guidance) / norms(previous - x_t).clamp_min(torch.finfo(x_t.dtype).tiny)).mean())
            if not math.isfinite(ratios[-1]):
                _require_finite(backbone, state.prediction, f"at step {step + 1}{hint}")
                raise InvalidSpec.of("guidance.scale", f"sampling diverged at step {step + 1}; choose a smaller scale")
            previous = previous + guidance
        x_t = previous
        if on_step is not None:
            on_step(step + 1, sampling.steps)
    if not finite:
        raise not_finite(backbone.name, backbone.dtype, f"after step 1{hint}")
    _require_finite(backbone, x_t, f"at the last step{hint}")
    return Sampled(x_t, tuple(ratios))


def _require_finite(backbone: Backbone, x: Tensor, where: str) -> None:
    if not x.isfinite().all():
        raise not_finite(backbone.name, backbone.dtype, where)


def initial_noise(backbone: Backbone, generators: Sequence[torch.Generator]) -> Float[Tensor, "n c h w"]:
    """x_T ~ N(0, I), one generator per image; drawn in float32 on the CPU, so that it is the same on every device."""
    drawn = torch.stack([torch.randn(backbone.latent_shape, generator=g) for g in generators])
    return drawn.to(backbone.device, backbone.latent_dtype)
