"""Unguided sampling with nothing of the product but the adapter."""

import inspect

import torch
from torch import Tensor

from app.domain.spec import Sampling
from tests.unit.worker import tiny
from worker.backbones.base import Backbone, Conditions


@torch.no_grad()
def sampled(one: Backbone, conditions: Conditions, sampling: Sampling) -> Tensor:
    """x_0 of one image per condition, each with a generator of its own."""
    scheduler, generators = one.scheduler(sampling), tiny.generators(len(conditions))
    noise = {"generator": generators} if "generator" in inspect.signature(scheduler.step).parameters else {}
    x = torch.stack([torch.randn(one.latent_shape, generator=g) for g in generators])
    for t in scheduler.timesteps:
        prediction = one.denoise(x, t, conditions, sampling.cfg_scale, ()).prediction
        x = scheduler.step(prediction, t, x, **noise).prev_sample
    return x
