"""What a job asks for: the immutable input of a distillation, and the body of POST /v1/jobs."""

import hashlib
import json
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, field_validator, model_validator

from app.domain.class_map import ClassLabel, ClassName
from app.domain.dataset_uri import canonical
from app.domain.kernel import MEDIAN, Bandwidth, Kernel, bandwidth_of
from app.domain.taps import Taps
from app.domain.text import refuse_unstorable

MOST_OF_URI = 4096  # characters
DEFAULT_BACKBONE = "embedded/digits"
HOLDOUT_FRACTION = 0.25  # a smaller share of a class is a part of this one, so no job tests on what a backbone trained on


class Objective(StrEnum):
    NONE = "none"
    INDUCED_DISTANCE = "induced-distance"
    MMD = "mmd"
    ENERGY = "energy"
    MODE = "mode"

    @property
    def has_kernel(self) -> bool:
        return self in (Objective.INDUCED_DISTANCE, Objective.MMD)


class Distance(StrEnum):
    """The kernel-induced distance of two images, or its square."""

    ROOT = "root"
    SQUARED = "squared"


class ScaleMode(StrEnum):
    RELATIVE = "relative"
    PAPER = "paper"


class Features(StrEnum):
    """What of the tapped hidden states is compared."""

    TOKENS = "tokens"
    POOLED = "pooled"
    PROJECTED = "projected"


class Scheduler(StrEnum):
    DDPM = "ddpm"
    DDIM = "ddim"
    DPM_SOLVER_PP = "dpm-solver++"
    FLOW_EULER = "flow-euler"


class Variance(StrEnum):
    """Of DDPM's reverse step: the schedule's own, or the one that the backbone predicts."""

    FIXED = "fixed"
    LEARNED = "learned"


class ReferenceSelection(StrEnum):
    RANDOM = "random"
    KMEANS = "kmeans"


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


class Part(BaseModel):
    """A frozen part of the spec; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    _storable = field_validator("*")(refuse_unstorable)


class Guidance(Part):
    """How real images steer the reverse diffusion."""

    objective: Objective = Field(
        default=Objective.MMD,
        examples=[Objective.MMD],
        description="`mmd`: match the class as a set (attraction to real images, repulsion among the synthetic ones). "
        "`induced-distance`: Algorithm 1 of the DAP paper. `energy`: the energy distance, as a set like `mmd` but without "
        "kernel and bandwidth; those given still rank the images and measure their distances. `mode`: as MGD3 (arXiv "
        "2505.18963), each image is pulled to a k-means mode of its class's latents, without features; its authors' settings "
        "are `scale_mode` `paper`, `scale` 0.1, `stop` 0.5, and `sampling.cfg_scale` 4. `none`: plain sampling.",
    )
    distance: Distance = Field(
        default=Distance.ROOT,
        examples=[Distance.ROOT],
        description="Under `induced-distance`: the distance as the paper defines it, with its square root, or its square, "
        "which pulls an image the more the farther it is. Other objectives take `root` only.",
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
        description="Block whose hidden state is compared: its number (1 = the first), its name, or a fraction of the depth "
        "above 0 and below 1; or a list of up to 8 of these, whose kernels are averaged. GET /v1/backbones lists the names. "
        "Default: the middle of the depth, for a UNet its mid block.",
    )
    features: Features = Field(
        default=Features.PROJECTED,
        examples=[Features.PROJECTED],
        description="Of the hidden state: all `tokens`; their mean (`pooled`); or all, `projected` at random to `projection` "
        "dimensions if they have more (Johnson-Lindenstrauss; the measured error of their distances is in the metrics).",
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
        description="The labelled images: `sklearn://digits`, or `file:///path` to a folder or zip with one folder per class "
        "(optionally below `train/` and `test/`, in any usual spelling). What of it is not read is a warning of the job.",
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
        description='The h of the kernel: "median", the median pairwise distance of the real features at each timestep (the '
        'default); a multiple of it, as in "0.5x"; or a number above 0 in feature units, the same at every timestep. For `rbf` '
        "also a list of up to 16 numbers and multiples: the mean of the kernels with each of them. Not for `linear` and "
        "`polynomial`, which have none. A number far below the median distance (in the job's metrics) leaves no gradient.",
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
        description="What the backbone calls a class of the dataset, where it is not the same name or a WordNet id: one of the "
        "backbone's names, a WordNet id, or a label's number (a text is a name first, and a number if no label has that name); "
        "for a backbone that takes text, the words in place of `{class}`.",
        examples=[{"french_horn": "French horn", "parachute": 701}],
    )
    guidance: Guidance = Field(default=Guidance(), description="How real images steer the sampling.")
    sampling: Sampling = Field(default=Sampling(), description="The reverse process: scheduler, steps, cfg scale.")
    reference: Reference = Field(default=Reference(), description="Which real images stand for their class.")
    evaluation: Evaluation | None = Field(
        default=None, description="Default: no evaluation. `{}` evaluates with the defaults.", examples=[{}]
    )
    holdout_fraction: StrictFloat = Field(
        default=HOLDOUT_FRACTION,
        gt=0,
        le=HOLDOUT_FRACTION,
        description="Share of each class held out for the evaluation when the dataset has no test split of its own; "
        "sampling never sees it. Without an evaluation, two images of a class are never held out. At most 0.25, which is what "
        "`dapple train` holds out.",
        examples=[HOLDOUT_FRACTION],
    )
    seed: StrictInt = Field(
        default=0,
        ge=0,
        lt=2**63,
        description="The noise of every image, and the draws of the evaluation, follow from it. What jobs share does not: "
        "which real images stand for a class, and their noise, follow from the class's name.",
        examples=[0],
    )
    priority: StrictInt = Field(
        default=0, ge=0, le=9, description="Tasks of jobs with a higher one start first; 9 is the highest.", examples=[0]
    )
    deadline_seconds: StrictFloat | None = Field(
        default=None,
        gt=0,
        le=30 * 86400,
        description="The job expires if it has not started this many seconds after its submission.",
        examples=[3600],
    )
    time_limit_seconds: StrictFloat | None = Field(
        default=None,
        gt=0,
        le=30 * 86400,
        description="The job fails if it has not ended this many seconds after its first task started.",
        examples=[86400],
    )
    max_attempts: StrictInt = Field(
        default=3, ge=1, le=10, description="Tries per task before a crash or a passing fault fails the job.", examples=[3]
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
    def content(self) -> dict[str, Any]:
        """What the result follows from, as JSON: all but when and how often the job may be tried."""
        return self.model_dump(mode="json", exclude={"priority", "deadline_seconds", "time_limit_seconds", "max_attempts"})

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: two specs with one digest are the same job."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
