"""The values that stand for the real images of a class."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from app.domain.class_conditioning import Condition
from app.domain.spec.reference import Reference
from worker.backbones.base import Conditions, Timestep
from worker.datasets.base import Split
from worker.references.feature_map import FeatureMap


@dataclass(frozen=True)
class TapPoint:
    """Where a backbone is tapped, as block numbers from 1, and the feature map of the hidden states
    there.
    """

    block_numbers: tuple[int, ...]
    feature_map: FeatureMap


@dataclass(frozen=True, eq=False)
class ClassImages:
    """The training images of one class and the condition that makes the backbone draw the class.

    `conditions` is `condition` as the model takes it, one row. `digest` identifies the images.
    `dataset_uri` is the same for all classes of a dataset, whichever of them a job reads.
    """

    class_name: str
    condition: Condition
    conditions: Conditions
    split: Split
    digest: str
    dataset_uri: str


@dataclass(frozen=True)
class ReferencePlan:
    """What a job computes from the real images of each class.

    `reference` says which images stand for a class. Their features are taken at `tap`, noised to
    each of `timesteps` (empty where guidance compares no features). `modes` is the number of
    k-means modes per class, 0 where guidance needs none.
    """

    reference: Reference
    tap: TapPoint
    timesteps: tuple[Timestep, ...] = ()
    modes: int = 0


@dataclass(frozen=True)
class ReferenceReport:
    """How the features of a class were made, for the metrics of the job.

    Of the `images` of the class, `references` stand for it and `probed` measure their error.
    `widths` is the number of columns of each tap, `bytes` the size of all features. The projection
    errors are relative errors of distances; None where features are not projected.
    """

    images: int
    references: int
    probed: int
    widths: tuple[int, ...]
    bytes: int
    projection_error_mean: float | None
    projection_error_max: float | None


@runtime_checkable
class ReferenceFeatures(Protocol):
    """Features of the m reference images of one class."""

    @property
    def report(self) -> ReferenceReport: ...

    @property
    def clean(self) -> Float[Tensor, "m d"]:
        """Features of the images without noise."""
        ...

    @property
    def thumbnails(self) -> Float[Tensor, "m k"]:
        """Small copies of the latents of the images."""
        ...

    def at(self, t: Timestep) -> Float[Tensor, "m d"]:
        """Features of the images noised to t."""
        ...

    def probe_at(self, t: Timestep) -> Float[Tensor, "p d"] | None:
        """Features of the whole class noised to t, to measure the error of the m references.

        None at most timesteps.
        """
        ...


@dataclass(frozen=True)
class Target:
    """One class of a batch: its rows, its condition (one row), and what stands for its real images.

    `modes` has one mode per row of the batch. It is None where guidance does not use modes.
    """

    class_name: str
    conditions: Conditions
    rows: slice
    reference: ReferenceFeatures
    modes: Float[Tensor, "k c h w"] | None = None
