"""With guidance off, sampling is diffusers' own DiTPipeline: same generators, same latents.

The largest latent is 1 where the scheduler clips; DPM-Solver++ does not, and untrained weights lead it far away.
"""

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, DiTPipeline, DPMSolverMultistepScheduler
from torch import Tensor

from app.domain.spec.sampling import Sampling, Scheduler, Variance
from tests.unit.worker import tiny
from worker.backbones.dit import DiTBackbone

LABELS = [3, 3, 7]


class Recording(AutoencoderKL):
    """Remembers the latents it was asked to decode."""

    latents: Tensor

    def decode(self, z: Tensor, *args: Any, **options: Any) -> Any:
        self.latents = z * self.config.scaling_factor
        return super().decode(z, *args, **options)


class SeededDDPM(DDPMScheduler):
    """The pipeline hands no generators to `step`: each image gets its own here, and its unconditional twin another."""

    given: list[torch.Generator]

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, generator: Any = None, return_dict: bool = True) -> Any:
        twins = tiny.generators(len(sample) - len(self.given), first=100)
        return super().step(model_output, timestep, sample, generator=self.given + twins, return_dict=return_dict)


SCHEDULERS = {
    Scheduler.DDPM: SeededDDPM,
    Scheduler.DDIM: DDIMScheduler,
    Scheduler.DPM_SOLVER_PP: DPMSolverMultistepScheduler,
}


def by_pipeline(one: DiTBackbone, model: Any, sampling: Sampling, schedule: dict[str, Any]) -> Tensor:
    scheduler = SCHEDULERS[sampling.scheduler or Scheduler.DDPM].from_config(dict(schedule))
    generators = tiny.generators(len(LABELS))
    if isinstance(scheduler, SeededDDPM):
        scheduler.given = generators
    vae = Recording(
        block_out_channels=(4,), latent_channels=one.latent_shape[0], norm_num_groups=2, layers_per_block=1, sample_size=8
    )
    pipeline = DiTPipeline(model, vae, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    pipeline(LABELS, sampling.cfg_scale, generators, sampling.steps, output_type="pt")
    return vae.latents


@pytest.mark.parametrize("schedule", [tiny.COSINE, tiny.LINEAR], ids=["cosine", "linear"])
@pytest.mark.parametrize("cfg_scale", [1.0, 4.0])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("learned_variance", [False, True])
@pytest.mark.slow
def test_the_latents_are_those_of_the_pipeline_which_knows_no_learned_variance(
    scheduler, cfg_scale, learned_variance, schedule
):
    model = tiny.transformer(channels=2, out_channels=4 if learned_variance else 2, classes=1000)
    one = tiny.backbone(model=model, schedule=schedule)
    sampling = Sampling(scheduler=scheduler, cfg_scale=cfg_scale, steps=8, variance=Variance.FIXED)
    ours = tiny.unguided(one, one.conditions(LABELS), sampling)
    theirs = by_pipeline(one, model, sampling, schedule)
    assert ours.std() > 0.1
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.parametrize("schedule", [tiny.COSINE, tiny.LINEAR], ids=["cosine", "linear"])
@pytest.mark.parametrize("cfg_scale", [1.0, 4.0])
@pytest.mark.slow
def test_with_a_learned_variance_the_latents_are_those_of_ddpms_learned_range(cfg_scale, schedule):
    model = tiny.transformer(channels=2, out_channels=4)
    one = tiny.backbone(model=model, schedule=schedule)
    scheduler = DDPMScheduler(**schedule, variance_type="learned_range")
    scheduler.set_timesteps(8)
    generators, labels, null = tiny.generators(3), torch.tensor(LABELS), torch.full((3,), 10)
    x = torch.stack([torch.randn(2, 8, 8, generator=g) for g in generators])
    for t in scheduler.timesteps:
        both = model(torch.cat([x, x]), timestep=t.expand(6), class_labels=torch.cat([labels, null])).sample
        given, without = both.detach().chunk(2)
        eps = without[:, :2] + cfg_scale * (given[:, :2] - without[:, :2])
        x = scheduler.step(torch.cat([eps, given[:, 2:]], 1), t, x, generator=generators).prev_sample
    sampling = Sampling(cfg_scale=cfg_scale, steps=8)
    ours = tiny.unguided(one, one.conditions(LABELS), sampling)
    assert (ours - x).abs().max() <= 1e-5 * x.abs().max()
    fixed = tiny.unguided(one, one.conditions(LABELS), sampling.model_copy(update={"variance": Variance.FIXED}))
    assert not torch.allclose(ours, fixed, atol=1e-2)
