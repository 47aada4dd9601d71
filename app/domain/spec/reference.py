"""Which real images stand for their class: the `reference` of a job."""

from enum import StrEnum

from pydantic import Field, StrictBool, StrictInt

from app.domain.spec.part import Part


class ReferenceSelection(StrEnum):
    RANDOM = "random"
    KMEANS = "kmeans"


class Reference(Part):
    """Which real images stand for their class during guidance."""

    count: StrictInt = Field(
        default=128,
        ge=2,
        le=4096,
        description="Real images per class compared at each step; fewer if the class is smaller.",
        examples=[128],
    )
    selection: ReferenceSelection = Field(
        default=ReferenceSelection.RANDOM,
        description="`random`: drawn by the class's name, so every job has the same. `kmeans`: the real image nearest to each "
        "cluster centre, for which up to 4,096 images of the class are read and encoded; on digits it gains nothing.",
        examples=[ReferenceSelection.RANDOM],
    )
    probes: StrictBool = Field(
        default=False,
        description="Measure what the reference images are worth: at three timesteps, guidance by them against guidance by up "
        "to 1,024 images of the class or twice the references (`guidance.estimator_error` in the metrics).",
        examples=[False],
    )
