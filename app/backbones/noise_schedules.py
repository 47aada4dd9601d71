"""The noise schedule in a scheduler's configuration: that of DDPM, or that of flow matching."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field

from app.backbones.config_fields import Config

MOST_TIMESTEPS = 10_000
LEAST_ALPHA_CUMPROD = 1e-12  # below it, predicted noise carries no information about the image
LARGEST_SIGMA = 1000.0  # noise over image; above it, schedules in sigma waste their steps

Timesteps = Annotated[int, Field(ge=1, le=MOST_TIMESTEPS)]
Beta = Annotated[float, Field(gt=0, lt=1)]
SigmaSpacing = Literal["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas"]
SIGMA_SPACINGS: tuple[SigmaSpacing, ...] = (
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "use_lu_lambdas",
)

# All describe the same kind of forward process. The job chooses the solver of the reverse process.
NOISE_SCHEDULERS = Literal[
    "DDIMParallelScheduler",
    "DDIMScheduler",
    "DDPMParallelScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSDEScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "SASolverScheduler",
    "UniPCMultistepScheduler",
]
OTHER_DEFAULTS = ("HeunDiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "KDPM2DiscreteScheduler", "DPMSolverSDEScheduler")


class NoiseSchedule(Config):
    """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps (Ho et al., arXiv 2006.11239, eq. 4).

    The defaults of the betas are those of diffusers, except for OTHER_DEFAULTS.
    """

    class_name: NOISE_SCHEDULERS | None = Field(default=None, alias="_class_name")
    num_train_timesteps: Timesteps = 1000
    beta_start: Beta = 0.0001
    beta_end: Annotated[float, Field(gt=0, le=1)] = 0.02
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"] = "linear"
    trained_betas: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(max_length=MOST_TIMESTEPS)] | None = None
    prediction_type: Literal["epsilon", "v_prediction"] = "epsilon"
    rescale_betas_zero_snr: bool = False
    clip_sample: bool | None = None
    clip_sample_range: Annotated[float, Field(gt=0, le=1000)] = 1.0
    thresholding: Literal[False] = False
    timestep_spacing: Literal["linspace", "leading", "trailing"] = "leading"
    timestep_type: Literal["discrete"] = "discrete"
    steps_offset: Annotated[int, Field(ge=0, lt=MOST_TIMESTEPS)] = 0
    set_alpha_to_one: bool = True
    variance_type: (
        Literal["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range"] | None
    ) = None
    use_karras_sigmas: bool | None = None
    use_exponential_sigmas: bool | None = None
    use_beta_sigmas: bool | None = None
    use_lu_lambdas: bool | None = None
    use_flow_sigmas: Literal[False] | None = None

    def fault(self) -> str | None:
        """What does not fit together, naming the field; None if all does."""
        given = self.model_fields_set
        if self.class_name in OTHER_DEFAULTS and self.trained_betas is None and not {"beta_start", "beta_end"} <= given:
            return f"beta_start: it must be given, with beta_end: the defaults of {self.class_name} differ from DDPM's"
        if self.trained_betas is not None and len(self.trained_betas) != self.num_train_timesteps:
            return f"trained_betas: there are {len(self.trained_betas)} for {self.num_train_timesteps} num_train_timesteps"
        return self._fault_at_the_end()

    def _fault_at_the_end(self) -> str | None:
        last = 0.0 if self.rescale_betas_zero_snr else math.prod(1 - beta for beta in self._betas())
        cause = next(name for name in ("rescale_betas_zero_snr", "trained_betas", "beta_end") if getattr(self, name))
        if self.prediction_type == "epsilon" and last < LEAST_ALPHA_CUMPROD:
            return f"{cause}: no image is left at the last timestep, where a model of the noise (epsilon) cannot begin"
        spacings = [name for name in SIGMA_SPACINGS if getattr(self, name)]
        if len(spacings) > 1:
            return f"{spacings[1]}: it cannot be set beside {spacings[0]}"
        if spacings and last < 1 / (1 + LARGEST_SIGMA**2):
            named = "trained_betas" if self.trained_betas else self.beta_schedule
            return f"{spacings[0]}: on {named} nearly all of its steps would lie where there is no image yet; set it to false"
        return None

    def _betas(self) -> Sequence[float]:
        """The betas of diffusers, in double precision."""
        count = self.num_train_timesteps
        if self.trained_betas is not None:
            return self.trained_betas
        if self.beta_schedule == "squaredcos_cap_v2":
            bars = [math.cos((i / count + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(count + 1)]
            return [min(1 - after / before, 0.999) for before, after in pairwise(bars)]
        share = [i / max(1, count - 1) for i in range(count)]
        if self.beta_schedule == "sigmoid":
            return [self.beta_start + (self.beta_end - self.beta_start) / (1 + math.exp(6 - 12 * s)) for s in share]
        if self.beta_schedule == "scaled_linear":
            first, last = math.sqrt(self.beta_start), math.sqrt(self.beta_end)
            return [(first + (last - first) * s) ** 2 for s in share]
        return [self.beta_start + (self.beta_end - self.beta_start) * s for s in share]


class FlowSchedule(Config):
    """x_t = (1 - sigma_t) x_0 + sigma_t eps (Liu et al., arXiv 2209.03003)."""

    class_name: Literal["FlowMatchEulerDiscreteScheduler"] = Field(alias="_class_name")
    num_train_timesteps: Timesteps = 1000
    shift: Annotated[float, Field(gt=0, le=100)] = 1.0
    use_dynamic_shifting: bool = False
    base_shift: Annotated[float, Field(ge=-10, le=10)] | None = 0.5
    max_shift: Annotated[float, Field(ge=-10, le=10)] | None = 1.15
    base_image_seq_len: Annotated[int, Field(ge=1, le=1_000_000)] | None = 256
    max_image_seq_len: Annotated[int, Field(ge=1, le=1_000_000)] | None = 4096
    shift_terminal: Annotated[float, Field(gt=0, lt=1)] | None = None
    invert_sigmas: Literal[False] = False
    stochastic_sampling: Literal[False] = False
    time_shift_type: Literal["exponential", "linear"] = "exponential"
    use_karras_sigmas: bool | None = None
    use_exponential_sigmas: bool | None = None
    use_beta_sigmas: bool | None = None

    def fault(self) -> str | None:
        """What does not fit together, naming the field; None if all does."""
        spacings = [name for name in SIGMA_SPACINGS[:3] if getattr(self, name)]
        if len(spacings) > 1:
            return f"{spacings[1]}: it cannot be set beside {spacings[0]}"
        if not self.use_dynamic_shifting:
            return None
        for name in ("base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len"):
            if getattr(self, name) is None:
                return f"{name}: it must be a number where use_dynamic_shifting is true"
        if self.base_image_seq_len == self.max_image_seq_len:
            return "max_image_seq_len: it must differ from base_image_seq_len"
        return None
