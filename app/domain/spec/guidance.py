"""The guidance of the reverse process by real images: the `guidance` of a job."""

from enum import StrEnum
from typing import Any, Self

from pydantic import Field, StrictFloat, StrictInt, field_validator, model_validator

from app.domain.spec.part import Part
from app.domain.spec.taps import Taps


class Objective(StrEnum):
    """The function whose negative gradient guides the images."""

    NONE = "none"  # plain sampling
    INDUCED_DISTANCE = "induced-distance"  # the kernel-induced distance (DAP, Algorithm 1)
    MMD = "mmd"  # maximum mean discrepancy of the class as a set
    ENERGY = "energy"  # energy distance of the class as a set; no kernel
    MODE = "mode"  # distance to a k-means mode of the latents (MGD3, arXiv 2505.18963)

    @property
    def has_kernel(self) -> bool:
        return self in (Objective.INDUCED_DISTANCE, Objective.MMD)


class Distance(StrEnum):
    """The kernel-induced distance of two images, or its square."""

    ROOT = "root"  # d = sqrt(K(a,a) - 2 K(a,b) + K(b,b)), as in the paper
    SQUARED = "squared"  # d^2


class ScaleMode(StrEnum):
    """The unit of the guidance scale."""

    RELATIVE = "relative"  # the length of the scheduler's step
    PAPER = "paper"  # the length of the gradient


class Features(StrEnum):
    """The map from tapped hidden states to the features that are compared."""

    TOKENS = "tokens"  # all tokens, flattened
    POOLED = "pooled"  # the mean over the tokens
    PROJECTED = "projected"  # all tokens, projected at random to fewer dimensions


class Guidance(Part):
    """The guidance of the reverse process by real images."""

    objective: Objective = Field(
        default=Objective.MMD,
        examples=[Objective.MMD],
        description="`mmd`: match the class as a set (attraction to real images, repulsion among the synthetic ones). "
        "`induced-distance`: Algorithm 1 of the DAP paper. `energy`: the energy distance; it matches the class as a set like "
        "`mmd`, but uses no kernel and no bandwidth; a given kernel still ranks the images and measures their distances. "
        "`mode`: as in MGD3 (arXiv 2505.18963), guidance pulls each image to a k-means mode of its class's latents and uses "
        "no features; the settings of its authors are `scale_mode` `paper`, `scale` 0.1, `stop` 0.5 and "
        "`sampling.cfg_scale` 4. `none`: plain sampling.",
    )
    distance: Distance = Field(
        default=Distance.ROOT,
        examples=[Distance.ROOT],
        description="For `induced-distance`: `root` is the distance as the paper defines it, with a square root. `squared` is "
        "its square, which pulls distant images more strongly. Other objectives accept `root` only.",
    )
    scale: StrictFloat = Field(
        default=0.8,
        ge=0,
        le=1e6,
        examples=[0.8],
        description="Guidance scale (no unit), the paper's gamma. With `relative` scaling: the length of the guidance "
        "in units of the scheduler's own step. 0 switches guidance off.",
    )
    scale_mode: ScaleMode = Field(
        default=ScaleMode.RELATIVE,
        examples=[ScaleMode.RELATIVE],
        description="`relative`: the gradient is rescaled per image to the length of the scheduler's step, so one "
        "scale fits every backbone and timestep. `paper`: the raw gradient times `scale`.",
    )
    tap: Taps = Field(
        default=None,
        examples=[3, 0.3, "mid_block", [4, 8]],
        description="The block whose hidden state is compared: its number (1 is the first), its name, or a fraction of the "
        "depth above 0 and below 1. A list of up to 8 of these averages their kernels. GET /v1/backbones lists the names. "
        "Default: the middle of the depth, or the mid block of a U-Net.",
    )
    features: Features = Field(
        default=Features.PROJECTED,
        examples=[Features.PROJECTED],
        description="The features of a hidden state. `tokens`: all tokens. `pooled`: their mean. `projected`: all tokens, "
        "projected at random to `projection` dimensions if they have more (Johnson-Lindenstrauss; the metrics report the "
        "measured error of the distances).",
    )
    projection: StrictInt = Field(
        default=4096, ge=64, le=65536, examples=[4096], description="Dimensions of `projected` features."
    )
    start: StrictFloat = Field(
        default=0.0, ge=0, le=1, description="Fraction of the trajectory, 0 to 1, after which guidance begins.", examples=[0.0]
    )
    stop: StrictFloat = Field(
        default=1.0, ge=0, le=1, description="Fraction of the trajectory, 0 to 1, after which guidance ends.", examples=[1.0]
    )

    @field_validator("distance")
    @classmethod
    def _squared_where_there_is_one(cls, distance: Distance, info: Any) -> Distance:
        objective = info.data.get("objective", Objective.INDUCED_DISTANCE)
        if distance is Distance.SQUARED and objective is not Objective.INDUCED_DISTANCE:
            raise ValueError(f"objective {objective} has no induced distance to square; choose induced-distance")
        return distance

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.start >= self.stop:
            raise ValueError("start must be below stop")
        return self

    @property
    def is_active(self) -> bool:
        """Whether guidance changes the images."""
        return self.objective is not Objective.NONE and self.scale > 0

    @property
    def compares_features(self) -> bool:
        """Whether guidance needs features of real images. `mode` needs only their latents."""
        return self.is_active and self.objective is not Objective.MODE

    def acts_at(self, step: int, steps: int) -> bool:
        """Whether step 0..steps-1 lies in the window from `start` to `stop`."""
        return self.start <= step / steps < self.stop
