"""What the service knows of a diffusion backbone, loaded or not."""

from dataclasses import dataclass, field
from enum import StrEnum

from app.domain.labels import Labels
from app.domain.spec.sampling import Scheduler


class Family(StrEnum):
    DIT = "dit"
    STABLE_DIFFUSION = "stable-diffusion"
    STABLE_DIFFUSION_3 = "stable-diffusion-3"

    @property
    def prompted(self) -> bool:
        """Whether its models take a prompt; otherwise they take the number of a label."""
        return self is not Family.DIT

    @property
    def flow(self) -> bool:
        """Whether its models learned flow matching; otherwise they predict noise, or the velocity v of noise and image."""
        return self is Family.STABLE_DIFFUSION_3


@dataclass(frozen=True, kw_only=True)
class BackboneInfo:
    """The facts that a spec and a dataset must agree with. They are read once, from the configuration files of the folder.

    `block_names` are the blocks that can be tapped, in order of depth. `image_size` is the side of an image in pixels.
    `labels` maps names to labels, and `label_count` counts labels with or without a name; a prompted model has none.
    `wordnet`: the labels are those of ImageNet-1K. `learned_variance`: the model predicts the variance of DDPM's steps.
    """

    name: str
    family: Family
    block_names: tuple[str, ...]
    image_size: int
    channels: int
    labels: Labels = field(default_factory=lambda: Labels(()), repr=False)
    label_count: int = 0
    wordnet: bool = False
    learned_variance: bool = False

    @property
    def prompted(self) -> bool:
        """Whether the model takes a prompt; otherwise it takes the number of a label."""
        return self.family.prompted

    @property
    def flow(self) -> bool:
        """Whether the model learned flow matching."""
        return self.family.flow


def schedulers_of(flow: bool) -> tuple[Scheduler, ...]:
    """The schedulers that a backbone can use; the first is its default."""
    return tuple(scheduler for scheduler in Scheduler if (scheduler is Scheduler.FLOW_EULER) is flow)
