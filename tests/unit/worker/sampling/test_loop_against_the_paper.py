"""Under `induced-distance`, the linear kernel and the paper's scale, with all real images: Algorithm 1 as it is written.

The naive one below knows nothing of hooks that cut or of micro-batches: it holds the whole pass on the graph, runs every real
image through the model at every step, and writes the distance out. Both share their draws of noise.
"""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from app.domain.spec.sampling import Sampling
from tests.unit.worker import tiny
from tests.unit.worker.numbers import noise as drawn
from worker.references.selection import noise
from worker.sampling.loop import sample

CLASSES, IPC, N, STEPS, GAMMA = (1, 4), 2, 7, 6, 3.0
REAL = {label: drawn(N, 1, 8, 8, seed=label, dtype=torch.float64).clamp(-1, 1) for label in CLASSES}
SCHEDULERS = {"ddpm": DDPMScheduler, "ddim": DDIMScheduler}


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("cfg_scale", [1.0, 4.0])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("tap", [1, 2])
@pytest.mark.slow
def test_the_trajectory_is_that_of_algorithm_1(tap, scheduler, cfg_scale, batch):
    model = tiny.transformer().double()
    one = tiny.backbone(model=model)
    wanted = tiny.spec(
        ipc=IPC,
        kernel="linear",
        guidance={"objective": "induced-distance", "scale_mode": "paper", "scale": GAMMA, "tap": tap, "features": "tokens"},
    )
    guidance = tiny.asked_guidance(one, wanted, tiny.targets(one, wanted, CLASSES, REAL))
    conditions = one.conditions([label for label in CLASSES for _ in range(IPC)])
    sampling = Sampling.model_validate({"scheduler": scheduler, "steps": STEPS, "cfg_scale": cfg_scale})
    ours = sample(one, conditions, tiny.generators(len(conditions)), sampling, guidance=guidance, batch=batch)
    naive = algorithm_1(model, SCHEDULERS[scheduler].from_config(dict(tiny.COSINE)), tap - 1, cfg_scale)
    plain = sample(one, conditions, tiny.generators(len(conditions)), sampling)
    assert (ours.latents - naive).abs().max() <= 1e-4 * naive.abs().max()
    assert (plain.latents - naive).abs().max() > 0.1  # there is guidance to be wrong about


def algorithm_1(model, scheduler, block, cfg_scale):
    labels = torch.tensor([label for label in CLASSES for _ in range(IPC)])
    null = torch.full_like(labels, model.config.num_embeds_ada_norm)
    generators = tiny.generators(len(labels))
    x = torch.stack([torch.randn(1, 8, 8, generator=g) for g in generators]).double()
    options = {"generator": generators} if isinstance(scheduler, DDPMScheduler) else {}
    scheduler.set_timesteps(STEPS)
    for t in scheduler.timesteps:
        x = x.detach().requires_grad_()
        eps, phi = with_features(model, x, t, labels, block)
        if cfg_scale > 1:
            unconditional, _ = with_features(model, x, t, null, block)
            eps = unconditional + cfg_scale * (eps - unconditional)
        distance = torch.zeros((), dtype=torch.float64)
        for i, label in enumerate(CLASSES):
            abar = scheduler.alphas_cumprod[t].double()
            noised = abar.sqrt() * REAL[label] + (1 - abar).sqrt() * noise(REAL[label].shape, str(label), t.item()).double()
            _, real = with_features(model, noised, t, torch.full((N,), label), block)
            for image in phi[i * IPC : (i + 1) * IPC]:
                distance = distance + torch.stack([torch.dist(image, one) for one in real]).mean()
        (gradient,) = torch.autograd.grad(distance, x)
        x = scheduler.step(eps.detach(), t, x.detach(), **options).prev_sample - GAMMA * gradient
    return x.detach()


def with_features(model, x, t, labels, block):
    kept = []
    hook = model.transformer_blocks[block].register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    eps = model(x, timestep=t.expand(len(x)), class_labels=labels).sample
    hook.remove()
    return eps, kept[0].flatten(1)
