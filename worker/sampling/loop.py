"""Algorithm 1 of DAP, the one sampling loop: reverse diffusion of a batch, guided or not."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from app.domain.errors import InvalidSpec
from app.domain.spec.sampling import Sampling
from worker.backbones.base import Backbone, Conditions
from worker.backbones.precision import not_finite
from worker.guidance.guidance import GuidanceTerm
from worker.guidance.scale import norms
from worker.progress import ReportProgress, no_progress
from worker.sampling.tapped_pass import tapped_pass

SMALLER_SCALE = "choose a smaller guidance.scale if it is finite without guidance"


@dataclass(frozen=True)
class Sampled:
    """Latents x_0, and for each step the mean over the batch of |guidance| / |scheduler step| (0
    where unguided).
    """

    latents: Float[Tensor, "n c h w"]
    guidance_ratio: tuple[float, ...]


@torch.no_grad()
def sample(
    backbone: Backbone,
    conditions: Conditions,
    generators: Sequence[torch.Generator],
    sampling: Sampling,
    *,
    guidance: GuidanceTerm | None = None,
    batch: int | None = None,
    report: ReportProgress = no_progress,
) -> Sampled:
    """Images under the given conditions: x_{t-1} = scheduler_step(x_t) + scaled g_t (DAP, Algorithm
    1).

    Every image draws its noise from its own generator, so it does not depend on its place in the
    batch. A pass has at most `batch` images, twice as many under classifier-free guidance; the
    images are the same, up to rounding. `report` is called after each step and may raise to stop.
    Raises InvalidSpec naming `guidance.scale` if guidance diverges, BackboneRejected if the model
    itself diverges. After a guided step that may be due to the scale, and the message says so.
    """
    stepper = backbone.stepper(sampling)
    x_t = initial_noise(backbone, generators)
    ratios = []
    hint = f" ({SMALLER_SCALE})" if guidance is not None else ""
    finite = torch.ones((), dtype=torch.bool, device=x_t.device)  # clipping would turn an infinite prediction into a number
    for step, t in enumerate(stepper.timesteps):
        active = guidance if guidance is not None and guidance.active(step, sampling.steps) else None
        t_prev = stepper.timesteps[step + 1] if step + 1 < sampling.steps else None
        tap = active.tap if active else None
        state = tapped_pass(backbone, x_t, t, t_prev, conditions, sampling.cfg_scale, tap, batch or len(x_t))
        finite &= state.prediction.isfinite().all()
        if step == 0 and not finite:  # later steps are checked together: waiting for each would keep a GPU idle
            raise not_finite(backbone.info.name, backbone.dtype, "at step 1")
        x_prev = stepper.step(state.prediction, t, x_t, generators)
        ratios.append(0.0)
        if active is not None:
            term = active.guidance(state, x_prev - x_t)
            ratios[-1] = float((norms(term) / norms(x_prev - x_t).clamp_min(torch.finfo(x_t.dtype).tiny)).mean())
            if not math.isfinite(ratios[-1]):
                _require_finite(backbone, state.prediction, f"at step {step + 1}{hint}")
                raise InvalidSpec.of("guidance.scale", f"sampling diverged at step {step + 1}; choose a smaller scale")
            x_prev = x_prev + term
        x_t = x_prev
        report(step + 1, sampling.steps)
    if not finite:
        raise not_finite(backbone.info.name, backbone.dtype, f"after step 1{hint}")
    _require_finite(backbone, x_t, f"at the last step{hint}")
    return Sampled(x_t, tuple(ratios))


def initial_noise(backbone: Backbone, generators: Sequence[torch.Generator]) -> Float[Tensor, "n c h w"]:
    """x_T ~ N(0, I), one generator per image.

    It is drawn in float32 on the CPU, so that it is the same on every device.
    """
    drawn = torch.stack([torch.randn(backbone.latent_shape, generator=g) for g in generators])
    return drawn.to(backbone.device, backbone.latent_dtype)


def _require_finite(backbone: Backbone, x: Tensor, where: str) -> None:
    if not x.isfinite().all():
        raise not_finite(backbone.info.name, backbone.dtype, where)
