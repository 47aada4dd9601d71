"""Noise schedules, apart from the models: variance-preserving diffusion and flow matching.

Both are x_t = alpha_t x_0 + sigma_t eps. They differ in alpha and sigma, in what the model
predicts, and in their schedulers.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from jaxtyping import Float, Shaped
from torch import Tensor

from app.domain.errors import InvalidSpec
from app.domain.spec.sampling import Sampling, Scheduler, Variance
from worker.backbones.stepper import Stepper

Config = Mapping[str, Any]  # the content of scheduler_config.json
Timestep = Shaped[Tensor, ""]

SCHEDULERS = {
    Scheduler.DDPM: DDPMScheduler,
    Scheduler.DDIM: DDIMScheduler,
    Scheduler.DPM_SOLVER_PP: DPMSolverMultistepScheduler,
}
PREDICTIONS = ("epsilon", "v_prediction")
LEARNED = ("learned", "learned_range")
SOLVER_FIELDS = ("algorithm_type", "solver_type", "solver_order", "final_sigmas_type", "predict_x0", "lower_order_final")


class Schedule(ABC):
    """alpha and sigma of a trained model, and the schedulers that can run its reverse process."""

    @abstractmethod
    def stepper(self, sampling: Sampling) -> Stepper:
        """As in `Backbone`."""

    @abstractmethod
    def alpha_sigma(self, t: Timestep) -> tuple[float, float]:
        """alpha_t and sigma_t of x_t = alpha_t x_0 + sigma_t eps."""

    @abstractmethod
    def predicted_x0(
        self, x_t: Float[Tensor, "n c h w"], prediction: Float[Tensor, "n c2 h w"], t: Timestep
    ) -> Float[Tensor, "n c h w"]:
        """As in `Backbone`."""

    def add_noise(self, x0: Float[Tensor, "n c h w"], eps: Float[Tensor, "n c h w"], t: Timestep) -> Float[Tensor, "n c h w"]:
        """alpha_t x_0 + sigma_t eps (Ho et al., arXiv 2006.11239, eq. 4; Liu et al., arXiv
        2209.03003, section 2.1).
        """
        alpha, sigma = self.alpha_sigma(t)
        return alpha * x0 + sigma * eps

    def posterior_std(self, t: Timestep, t_prev: Timestep | None) -> float:
        """Root of sigma_s^2 (1 - (alpha_t / alpha_s)^2 (sigma_s / sigma_t)^2) with s = `t_prev`; 0
        where that is x_0 (None).

        This is the variance of q(x_s | x_t, x_0) (Kingma et al., arXiv 2107.00630, appendix A). Ho
        et al., eq. 7, is its variance-preserving case.
        """
        if t_prev is None:
            return 0.0
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.alpha_sigma(t), self.alpha_sigma(t_prev)
        return sigma_s * math.sqrt(max(0.0, 1 - (alpha_t * sigma_s / (alpha_s * sigma_t)) ** 2))


class VariancePreserving(Schedule):
    """alpha_t = sqrt(abar_t), sigma_t = sqrt(1 - abar_t) (Ho et al.), for models that predict noise
    or v.

    `learned_variance`: the model also predicts a variance. `latents`: x is not an image, so its
    values are clipped only if the configuration says so. Raises ValueError for a configuration that
    diffusers does not know, or for another prediction.
    """

    def __init__(self, config: Config, *, learned_variance: bool = False, latents: bool = False) -> None:
        config = _without_its_solver(config)
        if latents:
            config = {"clip_sample": False} | config  # the default of diffusers is for pixels
        schedule = DDPMScheduler.from_config(dict(config))
        if schedule.config.prediction_type not in PREDICTIONS:
            raise ValueError(f"prediction_type {schedule.config.prediction_type!r} is none of {', '.join(PREDICTIONS)}")
        self._config = dict(config)
        if config.get("variance_type") in LEARNED:
            del self._config["variance_type"]  # the model itself shows whether it predicts a variance
        if schedule.config.beta_schedule == "sigmoid":  # in diffusers only DDPM knows it
            betas = DDPMScheduler.from_config(self._config | {"rescale_betas_zero_snr": False}).betas.tolist()
            self._config |= {"beta_schedule": "linear", "trained_betas": betas}
        self._learned_variance = learned_variance
        self._of_noise = schedule.config.prediction_type == "epsilon"
        self._alphas_cumprod: list[float] = schedule.alphas_cumprod.tolist()
        self._x0_limit = schedule.config.clip_sample_range if schedule.config.clip_sample else math.inf

    def stepper(self, sampling: Sampling) -> Stepper:
        name = sampling.scheduler or Scheduler.DDPM
        if name not in SCHEDULERS:
            raise InvalidSpec.of("sampling.scheduler", f"{name} is for flow matching; choose {', '.join(SCHEDULERS)}")
        takes_variance = self._takes_variance(name, sampling.variance)
        config = self._config | {"variance_type": "learned_range"} if takes_variance else self._config
        scheduler = SCHEDULERS[name].from_config(config)
        _set_timesteps(scheduler, name, sampling.steps)
        return Stepper(scheduler, takes_variance=takes_variance)

    def alpha_sigma(self, t: Timestep) -> tuple[float, float]:
        alpha_cumprod = self._alphas_cumprod[int(t)]
        return math.sqrt(alpha_cumprod), math.sqrt(1 - alpha_cumprod)

    def predicted_x0(
        self, x_t: Float[Tensor, "n c h w"], prediction: Float[Tensor, "n c2 h w"], t: Timestep
    ) -> Float[Tensor, "n c h w"]:
        """(x_t - sigma_t eps) / alpha_t (Ho et al., eq. 15), or alpha_t x_t - sigma_t v (Salimans
        and Ho, 2202.00512, app. D).

        A learned variance behind the prediction is ignored.
        """
        alpha, sigma = self.alpha_sigma(t)
        predicted = prediction[:, : x_t.shape[1]]
        x0 = (x_t - sigma * predicted) / alpha if self._of_noise else alpha * x_t - sigma * predicted
        return x0.clamp(-self._x0_limit, self._x0_limit)

    def _takes_variance(self, name: Scheduler, wanted: Variance | None) -> bool:
        if wanted is Variance.LEARNED and name is not Scheduler.DDPM:
            raise InvalidSpec.of("sampling.variance", f"{name} takes no learned variance, only ddpm does")
        if wanted is Variance.LEARNED and not self._learned_variance:
            raise InvalidSpec.of("sampling.variance", "this backbone predicts no variance; choose fixed")
        return self._learned_variance and name is Scheduler.DDPM and wanted is not Variance.FIXED


class FlowMatching(Schedule):
    """alpha_t = 1 - sigma_t, sigma_t = t / T: the straight path of rectified flow (Liu et al.,
    arXiv 2209.03003).

    `tokens` is the length of the image sequence, on which dynamic shifting depends. Raises
    ValueError for an inverted schedule.
    """

    def __init__(self, config: Config, *, tokens: int) -> None:
        schedule = FlowMatchEulerDiscreteScheduler.from_config(dict(config))
        if schedule.config.invert_sigmas:
            raise ValueError("invert_sigmas is not supported")
        self._config = dict(config)
        self._trained_steps: int = schedule.config.num_train_timesteps
        self._timing = {"mu": _dynamic_shift(schedule.config, tokens)} if schedule.config.use_dynamic_shifting else {}

    def stepper(self, sampling: Sampling) -> Stepper:
        name = sampling.scheduler or Scheduler.FLOW_EULER
        if name is not Scheduler.FLOW_EULER:
            raise InvalidSpec.of("sampling.scheduler", f"this backbone learned flow matching; {Scheduler.FLOW_EULER} is for it")
        if sampling.variance is Variance.LEARNED:
            raise InvalidSpec.of("sampling.variance", f"{name} takes no learned variance, only ddpm does")
        scheduler = FlowMatchEulerDiscreteScheduler.from_config(self._config)
        _set_timesteps(scheduler, name, sampling.steps, **self._timing)
        return Stepper(scheduler)

    def alpha_sigma(self, t: Timestep) -> tuple[float, float]:
        sigma = float(t) / self._trained_steps
        return 1 - sigma, sigma

    def predicted_x0(
        self, x_t: Float[Tensor, "n c h w"], prediction: Float[Tensor, "n c2 h w"], t: Timestep
    ) -> Float[Tensor, "n c h w"]:
        """x_t - sigma_t v, where v = eps - x_0 is the predicted velocity."""
        return x_t - self.alpha_sigma(t)[1] * prediction


def _without_its_solver(config: Config) -> dict[str, Any]:
    """The configuration without null values and without the fields of its own solver: the job
    chooses the scheduler.
    """
    return {name: value for name, value in config.items() if value is not None and name not in SOLVER_FIELDS}


def _dynamic_shift(config: Config, tokens: int) -> float:
    """mu, linear in the number of tokens, as in StableDiffusion3Pipeline of diffusers."""
    fewest, most = config["base_image_seq_len"], config["max_image_seq_len"]
    least, largest = config["base_shift"], config["max_shift"]
    return least + (largest - least) * (tokens - fewest) / (most - fewest)


def _set_timesteps(scheduler: Any, name: Scheduler, steps: int, **timing: float) -> None:
    trained = scheduler.config.num_train_timesteps
    if steps <= trained:
        scheduler.set_timesteps(steps, **timing)
    # DPM-Solver++ rounds dense timesteps into one. An offset may lead beyond the last timestep that
    # the model has learned.
    timesteps = scheduler.timesteps.tolist()
    if steps > trained or len(set(timesteps)) < steps or (name is not Scheduler.FLOW_EULER and max(timesteps) >= trained):
        raise InvalidSpec.of("sampling.steps", f"{name} on this backbone cannot take {steps} different steps; ask for fewer")
