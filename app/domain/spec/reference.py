"""The real images that represent their class: the `reference` of a job."""

from enum import StrEnum

from pydantic import Field, StrictBool, StrictInt

from app.domain.spec.part import Part


class ReferenceSelection(StrEnum):
    """The way to choose the reference images of a class."""

    RANDOM = "random"  # drawn at random, seeded by the class name
    KMEANS = "kmeans"  # the real image nearest to each k-means centre of the latents


class Reference(Part):
    """The real images that represent their class during guidance."""

    count: StrictInt = Field(
        default=128,
        ge=2,
        le=4096,
        description="Real images per class that each step compares; all of a smaller class.",
        examples=[128],
    )
    selection: ReferenceSelection = Field(
        default=ReferenceSelection.RANDOM,
        description="`random`: drawn at random with a seed from the class name, so every job has the same ones. `kmeans`: the "
        "real image nearest to each cluster centre; this encodes up to 4,096 images of the class. On digits it gains nothing.",
        examples=[ReferenceSelection.RANDOM],
    )
    probes: StrictBool = Field(
        default=False,
        description="Measure the error that comes from using few reference images: at three timesteps, compare their guidance "
        "with that of up to 1,024 images of the class, or of twice the references (`guidance.estimator_error` in the metrics).",
        examples=[False],
    )
