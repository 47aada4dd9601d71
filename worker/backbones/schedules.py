"""Noise schedules apart from the models: variance-preserving diffusion and flow matching.

Both are x_t = alpha_t x_0 + sigma_t eps; they differ in alpha and sigma, in what the model predicts, and in their schedulers.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import wraps
from typing import Any

from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from jaxtyping import Float
from torch import Tensor

from app.domain.errors import InvalidSpec
from app.domain.spec import Sampling, Scheduler, Variance
from worker.backbones.base import Timestep

Config = Mapping[str, Any]  # of scheduler_config.json

SCHEDULERS = {
    Scheduler.DDPM: DDPMScheduler,
    Scheduler.DDIM: DDIMScheduler,
    Scheduler.DPM_SOLVER_PP: DPMSolverMultistepScheduler,
}
PREDICTIONS = ("epsilon", "v_prediction")
LEARNED = ("learned", "learned_range")
SOLVER_FIELDS = ("algorithm_type", "solver_type", "solver_order", "final_sigmas_type", "predict_x0", "lower_order_final")


class Schedule(ABC):
    """alpha and sigma of a trained model, and the schedulers that can run it backwards."""

    flow: bool

    @abstractmethod
    def scheduler(self, sampling: Sampling) -> Any:
        """As in `Backbone`. Its timesteps are on the CPU: a step on a GPU then waits for nothing."""

    @abstractmethod
    def alpha_sigma(self, t: Timestep) -> tuple[float, float]:
        """alpha_t and sigma_t of x_t = alpha_t x_0 + sigma_t eps."""

    @abstractmethod
    def predicted_x0(
        self, x_t: Float[Tensor, "n c h w"], prediction: Float[Tensor, "n c2 h w"], t: Timestep
    ) -> Float[Tensor, "n c h w"]:
        """As in `Backbone`."""

    def add_noise(self, x0: Float[Tensor, "n c h w"], eps: Float[Tensor, "n c h w"], t: Timestep) -> Float[Tensor, "n c h w"]:
        """alpha_t x_0 + sigma_t eps (Ho et al., arXiv 2006.11239, eq. 4; Liu et al., arXiv 2209.03003, section 2.1)."""
        alpha, sigma = self.alpha_sigma(t)
        return alpha * x0 + sigma * eps

    def posterior_std(self, t: Timestep, earlier: Timestep | None) -> float:
        """Root of sigma_s^2 (1 - (alpha_t / alpha_s)^2 (sigma_s / sigma_t)^2), s the earlier one; zero where that is x_0.

        The variance of q(x_s | x_t, x_0) (Kingma et al., arXiv 2107.00630, appendix A); Ho et al., eq. 7, is its
        variance-preserving case.
        """
        if earlier is None:
            return 0.0
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.alpha_sigma(t), self.alpha_sigma(earlier)
        return sigma_s * math.sqrt(max(0.0, 1 - (alpha_t * sigma_s / (alpha_s * sigma_t)) ** 2))


class VariancePreserving(Schedule):
    """alpha_t = sqrt(abar_t), sigma_t = sqrt(1 - abar_t) (Ho et al.), for models of the noise or of v, and perhaps of variance.

    `latents`: x is no image, so its values have no limits but those that the configuration itself names. Raises ValueError
    for a configuration that diffusers does not know, or a prediction other than these.
    """

    flow = False

    def __init__(self, config: Config, *, learned_variance: bool = False, latents: bool = False) -> None:
        config = _without_its_solver(config)
        if latents:
            config = {"clip_sample": False} | config  # diffusers' own default is that of pixels
        schedule = DDPMScheduler.from_config(dict(config))
        if schedule.config.prediction_type not in PREDICTIONS:
            raise ValueError(f"prediction_type {schedule.config.prediction_type!r} is none of {', '.join(PREDICTIONS)}")
        self._config = dict(config)
        if config.get("variance_type") in LEARNED:
            del self._config["variance_type"]  # whether a variance is learned is seen from the model
        if schedule.config.beta_schedule == "sigmoid":  # only diffusers' DDPM knows it
            betas = DDPMScheduler.from_config(self._config | {"rescale_betas_zero_snr": False}).betas.tolist()
            self._config |= {"beta_schedule": "linear", "trained_betas": betas}
        self._learned_variance = learned_variance
        self._of_noise = schedule.config.prediction_type == "epsilon"
        self._alphas_cumprod: list[float] = schedule.alphas_cumprod.tolist()
        self._x0_limit = schedule.config.clip_sample_range if schedule.config.clip_sample else math.inf

    def scheduler(self, sampling: Sampling) -> Any:
        name = sampling.scheduler or Scheduler.DDPM
        if name not in SCHEDULERS:
            raise InvalidSpec.of("sampling.scheduler", f"{name} is for flow matching; choose {', '.join(SCHEDULERS)}")
        if self._learns_variance(name, sampling.variance):
            scheduler = DDPMScheduler.from_config(self._config | {"variance_type": "learned_range"})
        else:
            scheduler = SCHEDULERS[name].from_config(self._config)
            if self._learned_variance:
                _cut_variance(scheduler)
        _set_timesteps(scheduler, name, sampling.steps)
        return scheduler

    def alpha_sigma(self, t: Timestep) -> tuple[float, float]:
        alpha_cumprod = self._alphas_cumprod[int(t)]
        return math.sqrt(alpha_cumprod), math.sqrt(1 - alpha_cumprod)

    def predicted_x0(
        self, x_t: Float[Tensor, "n c h w"], prediction: Float[Tensor, "n c2 h w"], t: Timestep
    ) -> Float[Tensor, "n c h w"]:
        """(x_t - sigma_t eps) / alpha_t (Ho et al., eq. 15), or alpha_t x_t - sigma_t v (Salimans and Ho, 2202.00512, app. D).

        A learned variance behind the prediction is left out.
        """
        alpha, sigma = self.alpha_sigma(t)
        predicted = prediction[:, : x_t.shape[1]]
        x0 = (x_t - sigma * predicted) / alpha if self._of_noise else alpha * x_t - sigma * predicted
        return x0.clamp(-self._x0_limit, self._x0_limit)

    def _learns_variance(self, name: Scheduler, wanted: Variance | None) -> bool:
        if wanted is Variance.LEARNED and name is not Scheduler.DDPM:
            raise InvalidSpec.of("sampling.variance", f"{name} takes no learned variance, only ddpm does")
        if wanted is Variance.LEARNED and not self._learned_variance:
            raise InvalidSpec.of("sampling.variance", "this backbone predicts no variance; choose fixed")
        return self._learned_variance and name is Scheduler.DDPM and wanted is not Variance.FIXED


class FlowMatching(Schedule):
    """alpha_t = 1 - sigma_t, sigma_t = t / T: the straight path of rectified flow (Liu et al., arXiv 2209.03003).

    `tokens`: length of the image's sequence, which dynamic shifting goes by. Raises ValueError for a schedule that runs the
    other way.
    """

    flow = True

    def __init__(self, config: Config, *, tokens: int) -> None:
        schedule = FlowMatchEulerDiscreteScheduler.from_config(dict(config))
        if schedule.config.invert_sigmas:
            raise ValueError("invert_sigmas is not supported")
        self._config = dict(config)
        self._trained_steps: int = schedule.config.num_train_timesteps
        self._timing = {"mu": _dynamic_shift(schedule.config, tokens)} if schedule.config.use_dynamic_shifting else {}

    def scheduler(self, sampling: Sampling) -> Any:
        name = sampling.scheduler or Scheduler.FLOW_EULER
        if name is not Scheduler.FLOW_EULER:
            raise InvalidSpec.of("sampling.scheduler", f"this backbone learned flow matching; {Scheduler.FLOW_EULER} is for it")
        if sampling.variance is Variance.LEARNED:
            raise InvalidSpec.of("sampling.variance", f"{name} takes no learned variance, only ddpm does")
        scheduler = FlowMatchEulerDiscreteScheduler.from_config(self._config)
        _set_timesteps(scheduler, name, sampling.steps, **self._timing)
        return scheduler

    def alpha_sigma(self, t: Timestep) -> tuple[float, float]:
        sigma = float(t) / self._trained_steps
        return 1 - sigma, sigma

    def predicted_x0(
        self, x_t: Float[Tensor, "n c h w"], prediction: Float[Tensor, "n c2 h w"], t: Timestep
    ) -> Float[Tensor, "n c h w"]:
        """x_t - sigma_t v, v = eps - x_0 the predicted velocity."""
        return x_t - self.alpha_sigma(t)[1] * prediction


def _without_its_solver(config: Config) -> dict[str, Any]:
    """The configuration without what is null, and without the solver of a pipeline's own: a job chooses its scheduler."""
    return {name: value for name, value in config.items() if value is not None and name not in SOLVER_FIELDS}


def _dynamic_shift(config: Config, tokens: int) -> float:
    """mu, linear in the number of tokens, as in diffusers' StableDiffusion3Pipeline."""
    fewest, most = config["base_image_seq_len"], config["max_image_seq_len"]
    least, largest = config["base_shift"], config["max_shift"]
    return least + (largest - least) * (tokens - fewest) / (most - fewest)


def _set_timesteps(scheduler: Any, name: Scheduler, steps: int, **timing: float) -> None:
    trained = scheduler.config.num_train_timesteps
    if steps <= trained:
        scheduler.set_timesteps(steps, **timing)
    # DPM-Solver++ rounds some into one where they are dense; an offset may lead beyond the last that the model has learned.
    timesteps = scheduler.timesteps.tolist()
    if steps > trained or len(set(timesteps)) < steps or (name is not Scheduler.FLOW_EULER and max(timesteps) >= trained):
        raise InvalidSpec.of("sampling.steps", f"{name} on this backbone cannot take {steps} different steps; ask for fewer")


def _cut_variance(scheduler: Any) -> None:
    """Let `step` leave out the variance behind a prediction."""
    step = scheduler.step

    @wraps(step)  # keeps the signature, by which the sampler knows whether a step draws noise
    def on_mean(prediction: Tensor, t: Any, sample: Tensor, **options: Any) -> Any:
        return step(prediction[:, : sample.shape[1]], t, sample, **options)

    scheduler.step = on_mean
