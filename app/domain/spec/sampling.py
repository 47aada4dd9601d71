"""How the backbone is sampled: the `sampling` of a job."""

from enum import StrEnum

from pydantic import Field, StrictFloat, StrictInt

from app.domain.spec.part import Part


class Scheduler(StrEnum):
    DDPM = "ddpm"
    DDIM = "ddim"
    DPM_SOLVER_PP = "dpm-solver++"
    FLOW_EULER = "flow-euler"


class Variance(StrEnum):
    """Of DDPM's reverse step: the schedule's own, or the one that the backbone predicts."""

    FIXED = "fixed"
    LEARNED = "learned"


class Sampling(Part):
    """How the backbone is sampled."""

    scheduler: Scheduler | None = Field(
        default=None,
        description="Reverse process; `ddim` and `dpm-solver++` need fewer steps. `flow-euler` is for backbones that learned "
        "flow matching, and the only one for them. Default: `ddpm`, or `flow-euler` where that is the only one.",
        examples=[Scheduler.DDPM],
    )
    variance: Variance | None = Field(
        default=None,
        description="Noise of `ddpm`'s steps: `learned`, the variance that the backbone predicts, or `fixed`, the schedule's "
        "own. Default: `learned` where the backbone predicts one.",
        examples=[Variance.FIXED],
    )
    steps: StrictInt = Field(default=50, ge=1, le=1000, description="Number of denoising steps.", examples=[50])
    cfg_scale: StrictFloat = Field(
        default=1.0,
        ge=1,
        le=100,
        description="Classifier-free guidance scale; 1 is off and halves the cost of a step.",
        examples=[1.0],
    )
    prompt: str | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="Backbones that take text: what to draw, with the word `{class}` for the class. "
        "Default: `a photo of a {class}`.",
        examples=["a sketch of a {class}"],
    )
    negative_prompt: str | None = Field(
        default=None,
        max_length=1000,
        description="Backbones that take text: what to draw away from, under classifier-free guidance. Default: nothing.",
        examples=["blurry"],
    )
