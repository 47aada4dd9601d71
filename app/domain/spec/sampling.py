"""The reverse process of a job: its `sampling`."""

from enum import StrEnum

from pydantic import Field, StrictFloat, StrictInt

from app.domain.spec.part import Part


class Scheduler(StrEnum):
    """The solver of the reverse process."""

    DDPM = "ddpm"  # ancestral sampling (arXiv 2006.11239)
    DDIM = "ddim"  # deterministic (arXiv 2010.02502)
    DPM_SOLVER_PP = "dpm-solver++"  # deterministic, second order (arXiv 2211.01095)
    FLOW_EULER = "flow-euler"  # Euler steps of a flow-matching model


class Variance(StrEnum):
    """The variance of DDPM's reverse step."""

    FIXED = "fixed"  # from the noise schedule
    LEARNED = "learned"  # predicted by the backbone


class Sampling(Part):
    """The reverse process of the backbone."""

    scheduler: Scheduler | None = Field(
        default=None,
        description="The solver of the reverse process. `ddim` and `dpm-solver++` need fewer steps. Backbones trained by flow "
        "matching take `flow-euler` only, and no others take it. Default: `ddpm`, or `flow-euler` for those backbones.",
        examples=[Scheduler.DDPM],
    )
    variance: Variance | None = Field(
        default=None,
        description="The variance of `ddpm`'s steps. `learned`: the backbone predicts it. `fixed`: the noise schedule defines "
        "it. Default: `learned` if the backbone predicts one.",
        examples=[Variance.FIXED],
    )
    steps: StrictInt = Field(default=50, ge=1, le=1000, description="Number of denoising steps.", examples=[50])
    cfg_scale: StrictFloat = Field(
        default=1.0,
        ge=1,
        le=100,
        description="Scale of classifier-free guidance. 1 switches it off and halves the cost of a step.",
        examples=[1.0],
    )
    prompt: str | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="The prompt, for backbones that take text. `{class}` stands for the words of the class. "
        "Default: `a photo of a {class}`.",
        examples=["a sketch of a {class}"],
    )
    negative_prompt: str | None = Field(
        default=None,
        max_length=1000,
        description="The prompt that classifier-free guidance moves away from, for backbones that take text. Default: empty.",
        examples=["blurry"],
    )
