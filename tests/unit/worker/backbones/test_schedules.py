"""Both kinds of noise schedule, against closed forms and against diffusers' schedulers."""

import math
from typing import Any, get_args

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler

from app.backbones.noise_schedules import NOISE_SCHEDULERS, NoiseSchedule
from app.backbones.part_reader import PartReader
from app.domain.errors import BackboneRejected, InvalidSpec
from app.domain.spec.sampling import Sampling, Scheduler, Variance
from tests.unit.worker import tiny
from tests.unit.worker.numbers import noise
from worker.backbones.schedules import SCHEDULERS, FlowMatching, Schedule, VariancePreserving

V = tiny.LINEAR | {"prediction_type": "v_prediction"}
FLOW = {"num_train_timesteps": 1000, "shift": 3.0}
DYNAMIC = {"num_train_timesteps": 1000, "use_dynamic_shifting": True, "base_shift": 0.6, "max_shift": 1.3}
UNCLIPPED = {
    "epsilon": VariancePreserving(tiny.LINEAR),
    "v": VariancePreserving(V),
    "flow": FlowMatching(FLOW, tokens=16),
}
every_schedule = pytest.mark.parametrize("schedule", UNCLIPPED.values(), ids=list(UNCLIPPED))


def sampling(**fields: Any) -> Sampling:
    return Sampling.model_validate({"steps": 10} | fields)


def refused_field(schedule: Schedule, **fields: Any) -> str:
    with pytest.raises(InvalidSpec) as refused:
        schedule.stepper(sampling(**fields))
    return refused.value.problems[0].field


NEEDS_TORCHSDE = "DPMSolverSDEScheduler"  # without that library, diffusers cannot save one


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # of NumPy, in diffusers' own constructors
@pytest.mark.parametrize("name", sorted({*get_args(NOISE_SCHEDULERS)} - {NEEDS_TORCHSDE}))
@pytest.mark.slow
def test_what_diffusers_saves_of_a_scheduler_with_its_defaults_is_read(tmp_path, name):
    getattr(diffusers, name)().save_pretrained(tmp_path)
    read = PartReader("m", tmp_path).config("scheduler_config.json", model=NoiseSchedule)
    assert (read.class_name, read.fault()) == (name, None)


@pytest.mark.parametrize(
    "fields",
    [
        '"lambda_min_clipped": Infinity',
        '"lambda_min_clipped": NaN',
        '"lambda_min_clipped": -1e9',
        '"beta_start": -Infinity',
        '"other": {"lambda_min_clipped": -Infinity}',
    ],
)
def test_no_other_number_of_a_scheduler_is_infinite(tmp_path, fields):
    (tmp_path / "scheduler_config.json").write_text(f'{{"_class_name": "DDPMScheduler", {fields}}}')
    with pytest.raises(BackboneRejected, match="out of bounds"):
        PartReader("m", tmp_path).config("scheduler_config.json", model=NoiseSchedule)


@every_schedule
@pytest.mark.parametrize("t", [1, 500, 999])
def test_the_predicted_image_is_the_one_that_was_noised(schedule, t):
    x0, eps = 3 * noise(2, 1, 8, 8, dtype=torch.float64), noise(2, 1, 8, 8, seed=1, dtype=torch.float64)
    timestep = torch.tensor(t)
    alpha, sigma = schedule.alpha_sigma(timestep)
    truth = {"epsilon": eps, "v": alpha * eps - sigma * x0, "flow": eps - x0}
    prediction = next(truth[name] for name, one in UNCLIPPED.items() if one is schedule)
    assert torch.allclose(schedule.predicted_x0(schedule.add_noise(x0, eps, timestep), prediction, timestep), x0)


def test_a_learned_variance_is_no_part_of_the_predicted_image():
    x_t, prediction, t = noise(2, 1, 8, 8), noise(2, 2, 8, 8, seed=1), torch.tensor(500)
    schedule = VariancePreserving(tiny.LINEAR, learned_variance=True)
    assert torch.equal(schedule.predicted_x0(x_t, prediction, t), schedule.predicted_x0(x_t, prediction[:, :1], t))


def test_the_predicted_image_is_clamped_where_the_schedule_clips():
    x_t, eps, t = noise(2, 1, 8, 8), noise(2, 1, 8, 8, seed=1), torch.tensor(990)
    assert VariancePreserving(tiny.COSINE).predicted_x0(x_t, eps, t).abs().max() == 1
    assert VariancePreserving(tiny.LINEAR).predicted_x0(x_t, eps, t).abs().max() > 1


@pytest.mark.parametrize("config", [tiny.COSINE, tiny.LINEAR, V], ids=["cosine", "linear", "v"])
def test_the_predicted_image_is_that_of_diffusers(config):
    x_t, prediction, t = noise(2, 1, 8, 8), noise(2, 1, 8, 8, seed=1), torch.tensor(500)
    theirs = DDPMScheduler(**config).step(prediction, 500, x_t, generator=tiny.generators(2)).pred_original_sample
    assert torch.allclose(VariancePreserving(config).predicted_x0(x_t, prediction, t), theirs, atol=1e-5)


@pytest.mark.parametrize("config", [tiny.COSINE, tiny.LINEAR], ids=["cosine", "linear"])
@pytest.mark.parametrize("theirs", [DDPMScheduler, DDIMScheduler])
def test_the_forward_process_is_that_of_diffusers(theirs, config):
    x0, eps, t = noise(2, 1, 8, 8), noise(2, 1, 8, 8, seed=1), torch.tensor(500)
    expected = theirs(**config).add_noise(x0, eps, t.expand(2))
    assert torch.allclose(VariancePreserving(config).add_noise(x0, eps, t), expected, atol=1e-6)


@pytest.mark.parametrize("config", [FLOW, DYNAMIC], ids=["shifted", "dynamic"])
def test_the_forward_process_of_flow_matching_is_that_of_diffusers(config):
    schedule, x0, eps = FlowMatching(config, tokens=16), noise(2, 1, 8, 8), noise(2, 1, 8, 8, seed=1)
    scheduler = schedule.stepper(sampling()).scheduler
    for t in scheduler.timesteps:
        assert torch.allclose(schedule.add_noise(x0, eps, t), scheduler.scale_noise(x0, t.expand(2), eps), atol=1e-6)


@pytest.mark.parametrize("config", [tiny.COSINE, tiny.LINEAR], ids=["cosine", "linear"])
def test_the_posterior_standard_deviation_is_that_of_diffusers_ddpm(config):
    ddpm: Any = DDPMScheduler(**config, variance_type="fixed_small")
    ddpm.set_timesteps(20)
    schedule = VariancePreserving(config)
    ours = [schedule.posterior_std(t, s) ** 2 for t, s in zip(ddpm.timesteps, [*ddpm.timesteps[1:], None], strict=True)]
    assert ours == pytest.approx([float(ddpm._get_variance(t)) for t in ddpm.timesteps], rel=1e-4, abs=1e-15)


@every_schedule
@pytest.mark.parametrize(("t", "s"), [(1000, 900), (999, 998), (700, 20)])
def test_the_posterior_standard_deviation_is_that_of_two_gaussian_facts_about_x_s(schedule, t, s):
    """q(x_s | x_t, x_0) joins q(x_s | x_0), of variance sigma_s^2, and x_t = r x_s + noise: precisions add."""
    t = min(t, 1000 if isinstance(schedule, FlowMatching) else 999)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = (schedule.alpha_sigma(torch.tensor(one)) for one in (t, s))
    ratio = alpha_t / alpha_s
    noise_between = sigma_t**2 - (ratio * sigma_s) ** 2
    expected = (1 / sigma_s**2 + ratio**2 / noise_between) ** -0.5
    assert schedule.posterior_std(torch.tensor(t), torch.tensor(s)) == pytest.approx(expected, rel=1e-9)
    assert schedule.posterior_std(torch.tensor(s), None) == 0


@pytest.mark.parametrize("name", SCHEDULERS)
def test_more_steps_than_were_trained_are_refused(name):
    schedule = VariancePreserving({"num_train_timesteps": 5})
    assert refused_field(schedule, scheduler=name, steps=6) == "sampling.steps"


def test_steps_that_start_beyond_what_was_trained_are_refused():
    schedule = VariancePreserving({"num_train_timesteps": 10, "steps_offset": 1})
    assert max(schedule.stepper(sampling(scheduler="ddim", steps=5)).timesteps) == 9
    assert refused_field(schedule, scheduler="ddim", steps=10) == "sampling.steps"


def test_the_default_is_ddpm_and_for_flow_matching_euler():
    assert isinstance(VariancePreserving(tiny.COSINE).stepper(sampling()).scheduler, DDPMScheduler)
    assert isinstance(UNCLIPPED["flow"].stepper(sampling()).scheduler, FlowMatchEulerDiscreteScheduler)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_sampling_starts_from_a_standard_normal_and_models_take_x_t_as_it_is(name):
    scheduler, x = UNCLIPPED["epsilon"].stepper(sampling(scheduler=name)).scheduler, noise(2, 1, 8, 8)
    assert scheduler.init_noise_sigma == 1
    assert scheduler.scale_model_input(x, scheduler.timesteps[0]) is x


def test_a_scheduler_of_the_other_kind_is_refused():
    assert refused_field(UNCLIPPED["epsilon"], scheduler=Scheduler.FLOW_EULER) == "sampling.scheduler"
    for name in SCHEDULERS:
        assert refused_field(UNCLIPPED["flow"], scheduler=name) == "sampling.scheduler"


def test_a_learned_variance_is_refused_where_there_is_none():
    learned = VariancePreserving(tiny.LINEAR, learned_variance=True)
    assert refused_field(UNCLIPPED["epsilon"], variance=Variance.LEARNED) == "sampling.variance"
    assert refused_field(UNCLIPPED["flow"], variance=Variance.LEARNED) == "sampling.variance"
    assert refused_field(learned, variance=Variance.LEARNED, scheduler=Scheduler.DDIM) == "sampling.variance"


@pytest.mark.parametrize("schedule", UNCLIPPED.values(), ids=list(UNCLIPPED))
def test_a_fixed_variance_is_always_there(schedule):
    schedule.stepper(sampling(variance=Variance.FIXED))


@pytest.mark.parametrize(
    ("wanted", "variance_type"), [(None, "learned_range"), ("learned", "learned_range"), ("fixed", "fixed_small")]
)
@pytest.mark.parametrize("config", [tiny.LINEAR, tiny.LINEAR | {"variance_type": "learned_range"}], ids=["plain", "declared"])
def test_ddpm_takes_the_learned_variance_unless_it_is_to_be_fixed(config, wanted, variance_type):
    schedule = VariancePreserving(config, learned_variance=True)
    assert schedule.stepper(sampling(variance=wanted)).scheduler.config.variance_type == variance_type


def test_a_declared_variance_type_is_kept_for_a_model_that_learned_none():
    schedule = VariancePreserving(tiny.LINEAR | {"variance_type": "fixed_large"})
    assert schedule.stepper(sampling()).scheduler.config.variance_type == "fixed_large"


@pytest.mark.parametrize("name", [Scheduler.DDPM, Scheduler.DDIM, Scheduler.DPM_SOLVER_PP])
def test_a_scheduler_without_use_for_a_variance_leaves_it_out(name):
    plain, cutting = (VariancePreserving(tiny.LINEAR, learned_variance=learned) for learned in (False, True))
    x, prediction, asked = noise(2, 1, 8, 8), noise(2, 2, 8, 8, seed=1), sampling(scheduler=name, variance=Variance.FIXED)
    expected, cut = plain.stepper(asked), cutting.stepper(asked)
    t = expected.timesteps[0]
    theirs = expected.step(prediction[:, :1], t, x, tiny.generators(2))
    assert torch.equal(cut.step(prediction, t, x, tiny.generators(2)), theirs)


def test_a_learned_variance_lies_between_the_posteriors_and_the_steps_own():
    """exp(v log beta_t + (1 - v) log beta-tilde_t) (Nichol and Dhariwal, arXiv 2102.09672, eq. 15), v = (output + 1) / 2."""
    schedule = VariancePreserving(tiny.LINEAR, learned_variance=True)
    scheduler = schedule.stepper(sampling()).scheduler
    t, s = scheduler.timesteps[3], scheduler.timesteps[4]
    x, eps, output = (noise(2, 1, 8, 8, seed=seed, dtype=torch.float64) for seed in range(3))
    z = torch.cat([torch.randn(1, 1, 8, 8, generator=one, dtype=torch.float64) for one in tiny.generators(2)])
    stepped = scheduler.step(torch.cat([eps, output], 1), t, x, generator=tiny.generators(2)).prev_sample
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.alpha_sigma(t), schedule.alpha_sigma(s)
    beta = 1 - (alpha_t / alpha_s) ** 2
    v = (output + 1) / 2
    variance = torch.exp(v * math.log(beta) + (1 - v) * math.log(schedule.posterior_std(t, s) ** 2))
    x0 = schedule.predicted_x0(x, eps, t)
    mean = (alpha_s * beta * x0 + alpha_t / alpha_s * sigma_s**2 * x) / sigma_t**2
    assert torch.allclose(stepped, mean + variance.sqrt() * z, atol=1e-5)


def test_dynamic_shifting_follows_the_number_of_tokens():
    mu = 0.6 + (1.3 - 0.6) * (1024 - 256) / (4096 - 256)
    plain = np.linspace(1, 1 / 1000, 10)
    expected = 1000 * math.exp(mu) / (math.exp(mu) + 1 / plain - 1)
    shifted = FlowMatching(DYNAMIC, tokens=1024).stepper(sampling()).timesteps
    assert shifted.numpy() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("config", [{"prediction_type": "sample"}, {"beta_schedule": "made-up"}], ids=str)
def test_a_schedule_that_nobody_knows_is_an_error(config):
    with pytest.raises((ValueError, NotImplementedError)):
        VariancePreserving(config)


def test_flow_matching_that_runs_the_other_way_is_an_error():
    with pytest.raises(ValueError, match="invert_sigmas"):
        FlowMatching({"invert_sigmas": True}, tokens=16)


PNDM = {"_class_name": "PNDMScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def test_a_schedule_that_is_silent_clips_pixels_and_no_latents():
    x_t, eps, t = noise(2, 1, 8, 8), noise(2, 1, 8, 8, seed=1), torch.tensor(990)
    for silent in (PNDM, PNDM | {"clip_sample": None}):
        latents = VariancePreserving(silent, latents=True)
        assert latents.predicted_x0(x_t, eps, t).abs().max() > 1
        assert latents.stepper(sampling()).scheduler.config.clip_sample is False
        assert VariancePreserving(silent).predicted_x0(x_t, eps, t).abs().max() == 1
    assert VariancePreserving(PNDM | {"clip_sample": True}, latents=True).predicted_x0(x_t, eps, t).abs().max() == 1


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize(
    "solver",
    [{"algorithm_type": "deis", "solver_type": "logrho"}, {"algorithm_type": "dpmsolver"}, {"variance_type": None}],
    ids=str,
)
def test_the_solver_of_the_folders_pipeline_is_not_the_jobs(name, solver):
    plain, given = (VariancePreserving(config).stepper(sampling(scheduler=name)).scheduler for config in (PNDM, PNDM | solver))
    assert {**plain.config} == {**given.config}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_sigmoid_schedule_is_that_of_diffusers_in_every_scheduler(name):
    config = {"beta_schedule": "sigmoid", "clip_sample": False}
    scheduler = VariancePreserving(config).stepper(sampling(scheduler=name)).scheduler
    assert torch.equal(scheduler.alphas_cumprod, DDPMScheduler(**config).alphas_cumprod)
