"""The baselines that a distilled set is compared with: the `evaluation` of a job."""

from enum import StrEnum
from typing import Literal

from pydantic import Field, StrictInt, field_validator

from app.domain.spec.part import Part

# `dapple train` holds out this share, and a job at most this share. A smaller share holds out a
# subset, so no job tests on images that its backbone was trained on.
HOLDOUT_FRACTION = 0.25


class Arm(StrEnum):
    """A way to choose or make the small training set. One protocol compares all arms."""

    RANDOM_REAL = "random_real"  # real images drawn at random
    KMEANS_REAL = "kmeans_real"  # the real image nearest to each k-means centre
    UNGUIDED = "unguided"  # sampled without guidance
    GUIDED = "guided"  # the distilled set
    FULL = "full"  # the whole training split

    @property
    def is_sampled(self) -> bool:
        return self in (Arm.UNGUIDED, Arm.GUIDED)


class Evaluation(Part):
    """Train a classifier on the distilled set and on baselines of its size; test each on held-out
    real images.
    """

    protocol: Literal["small"] = Field(
        default="small",
        description="`small`: ConvNet-3 with instance norm, for images up to 64 pixels; a fixed number of SGD steps.",
        examples=["small"],
    )
    arms: tuple[Arm, ...] = Field(
        default=tuple(Arm),
        min_length=1,
        max_length=len(Arm),
        description="The training sets to compare. `full` is the whole training split, an upper bound.",
        examples=[[Arm.RANDOM_REAL, Arm.GUIDED]],
    )
    training_seeds: StrictInt = Field(
        default=5,
        ge=1,
        le=20,
        description="Classifiers trained per arm. All arms share the seeds; each seed draws new real images.",
        examples=[5],
    )

    @field_validator("arms")
    @classmethod
    def _each_once(cls, arms: tuple[Arm, ...]) -> tuple[Arm, ...]:
        if len(set(arms)) != len(arms):
            raise ValueError("each arm may be named once")
        return tuple(arm for arm in Arm if arm in arms)
