"""The spec of a job: the immutable input of a distillation, and the body of POST /v1/jobs."""

import hashlib
import json
from typing import Any

from pydantic import ConfigDict, Field, StrictFloat, StrictInt, field_validator

from app.domain.dataset_uri import canonical
from app.domain.spec.bandwidth import MEDIAN, Bandwidth, Kernel, KernelChoice, bandwidth_of
from app.domain.spec.class_map import ClassLabel, ClassName
from app.domain.spec.evaluation import HOLDOUT_FRACTION, Evaluation
from app.domain.spec.guidance import Guidance
from app.domain.spec.part import Part
from app.domain.spec.reference import Reference
from app.domain.spec.sampling import Sampling

MOST_OF_URI = 4096  # characters
DEFAULT_BACKBONE = "embedded/digits"


class DistillationSpec(Part):
    """A distillation job. Only `dataset_uri` and `ipc` are required."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"dataset_uri": "sklearn://digits", "ipc": 10, "kernel_bandwidth": MEDIAN},
                {"dataset_uri": "file:///data/flowers", "ipc": 1, "backbone": "flowers", "evaluation": {}},
            ]
        }
    )

    dataset_uri: str = Field(
        min_length=1,
        max_length=MOST_OF_URI,
        description="The labelled images: `sklearn://digits`, or `file:///path` to a folder, zip or tar of class folders "
        "(optionally below `train/` and `test/`, in any usual spelling), to WebDataset shards, parquet, npz, IDX, the binary "
        "version of CIFAR, or images beside a list of files and labels. Also from `https://`, from `s3://bucket/prefix` "
        "(buckets that the operator allows), or from `hf://datasets/owner/name[@revision][/path]`. A warning of the job lists "
        "what was not read.",
        examples=["sklearn://digits"],
    )
    ipc: StrictInt = Field(ge=1, le=100, description="Synthetic images per class.", examples=[10])
    kernel: Kernel = Field(
        default=Kernel.RBF,
        description="Mercer kernel K(a,b) on the backbone's features, with d = |a-b|. `rbf`: exp(-d^2 / (2 h^2)). "
        "`laplacian`: exp(-d / h). `inverse-multiquadric`: (1 + d^2 / (2 h^2))^(-1/2). `linear`: <a,b>. "
        "`polynomial`: (<a,b> / length + 1)^3 for feature vectors of that length.",
        examples=[Kernel.RBF],
    )
    kernel_bandwidth: Bandwidth = Field(
        default=None,
        validate_default=True,
        description='The h of the kernel. "median" (the default): the median pairwise distance of the real features at each '
        'timestep. "0.5x": a multiple of it. A number above 0: in feature units, the same at every timestep. For `rbf` also a '
        "list of up to 16 numbers and multiples, which averages the kernels with each of them. `linear` and `polynomial` have "
        "no bandwidth. With a number far below the median distance (see the job's metrics) the gradient vanishes.",
        examples=[MEDIAN, "0.5x", 12.5, ["0.5x", "1x", "2x"]],
    )
    backbone: str = Field(
        default=DEFAULT_BACKBONE,
        min_length=1,
        max_length=255,
        description="A name from GET /v1/backbones.",
        examples=[DEFAULT_BACKBONE],
    )
    classes: tuple[ClassName, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=10_000,
        description="Read and distil only these classes. Default: every class of the dataset.",
        examples=[["0", "1"]],
    )
    class_map: dict[ClassName, ClassLabel] = Field(
        default={},
        max_length=10_000,
        description="The backbone's label for a class of the dataset, if it has another name and is no WordNet id: one of the "
        "backbone's names, a WordNet id, or the number of a label (a string is a number only if no label has that name). For "
        "a backbone that takes text: the words in place of `{class}`.",
        examples=[{"french_horn": "French horn", "parachute": 701}],
    )
    guidance: Guidance = Field(default=Guidance(), description="How real images guide the sampling.")
    sampling: Sampling = Field(default=Sampling(), description="The reverse process: scheduler, steps, scale of cfg.")
    reference: Reference = Field(default=Reference(), description="The real images that represent their class.")
    evaluation: Evaluation | None = Field(
        default=None, description="Default: no evaluation. `{}` evaluates with the defaults.", examples=[{}]
    )
    holdout_fraction: StrictFloat = Field(
        default=HOLDOUT_FRACTION,
        gt=0,
        le=HOLDOUT_FRACTION,
        description="Share of each class that is held out for the evaluation if the dataset has no test split; "
        "sampling never uses it. At least two images of each class are not held out. At most 0.25, as `dapple train` "
        "holds out.",
        examples=[HOLDOUT_FRACTION],
    )
    seed: StrictInt = Field(
        default=0,
        ge=0,
        lt=2**63,
        description="Seeds the noise of every synthetic image and the random draws of the evaluation. The choice of the "
        "reference images and their noise is seeded by the class name instead, so that jobs share them.",
        examples=[0],
    )
    priority: StrictInt = Field(
        default=0, ge=0, le=9, description="Tasks of jobs with a higher priority start first; 9 is the highest.", examples=[0]
    )
    deadline_seconds: StrictFloat | None = Field(
        default=None,
        gt=0,
        le=30 * 86400,
        description="The job expires if it has not started within this many seconds of its submission.",
        examples=[3600],
    )
    time_limit_seconds: StrictFloat | None = Field(
        default=None,
        gt=0,
        le=30 * 86400,
        description="The job fails if it has not ended within this many seconds of its first task's start.",
        examples=[86400],
    )
    max_attempts: StrictInt = Field(
        default=3, ge=1, le=10, description="Attempts per task before a crash or a temporary fault fails the job.", examples=[3]
    )

    @field_validator("dataset_uri")
    @classmethod
    def _canonical(cls, value: str) -> str:
        found = canonical(value)
        if len(found) > MOST_OF_URI:
            raise ValueError(f"has {len(found)} characters once its bytes are written as %XX; at most {MOST_OF_URI} are read")
        return found

    @field_validator("kernel_bandwidth")
    @classmethod
    def _of_the_kernel(cls, value: Bandwidth, info: Any) -> Bandwidth:
        return bandwidth_of(info.data.get("kernel", Kernel.RBF), value)

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if classes is not None and len(set(classes)) != len(classes):
            raise ValueError("each class may be named once")
        return classes

    @property
    def kernel_choice(self) -> KernelChoice:
        """The kernel with its bandwidth."""
        return KernelChoice(self.kernel, self.kernel_bandwidth)

    @property
    def content(self) -> dict[str, Any]:
        """The fields that determine the result, as JSON: all but priority, limits and attempts."""
        return self.model_dump(mode="json", exclude={"priority", "deadline_seconds", "time_limit_seconds", "max_attempts"})

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON. Equal specs have equal digests."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
