"""What a distilled set is compared with: the `evaluation` of a job."""

from enum import StrEnum
from typing import Literal

from pydantic import Field, StrictInt, field_validator

from app.domain.spec.part import Part

HOLDOUT_FRACTION = 0.25  # a smaller share of a class is a part of this one, so no job tests on what a backbone trained on


class Arm(StrEnum):
    """A way to choose or make the small training set; arms are compared under one protocol."""

    RANDOM_REAL = "random_real"
    KMEANS_REAL = "kmeans_real"
    UNGUIDED = "unguided"
    GUIDED = "guided"
    FULL = "full"

    @property
    def is_sampled(self) -> bool:
        return self in (Arm.UNGUIDED, Arm.GUIDED)


class Evaluation(Part):
    """Train a classifier on the distilled set and on baselines of the same size; test all on held-out real images."""

    protocol: Literal["small"] = Field(
        default="small",
        description="`small`: ConvNet-3 with instance norm, for images up to 64 pixels; a fixed number of SGD steps.",
        examples=["small"],
    )
    arms: tuple[Arm, ...] = Field(
        default=tuple(Arm),
        min_length=1,
        max_length=len(Arm),
        description="What to compare; `full` is the whole training split, the ceiling.",
        examples=[[Arm.RANDOM_REAL, Arm.GUIDED]],
    )
    training_seeds: StrictInt = Field(
        default=5,
        ge=1,
        le=20,
        description="Classifiers trained per arm, with seeds shared by all arms; each draws its real images anew.",
        examples=[5],
    )

    @field_validator("arms")
    @classmethod
    def _each_once(cls, arms: tuple[Arm, ...]) -> tuple[Arm, ...]:
        if len(set(arms)) != len(arms):
            raise ValueError("each arm may be named once")
        return tuple(arm for arm in Arm if arm in arms)
