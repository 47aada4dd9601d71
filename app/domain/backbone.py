"""The facts about a diffusion backbone that need no weights."""

from dataclasses import dataclass, field
from enum import StrEnum

from app.domain.labels import Labels
from app.domain.spec.sampling import Scheduler


class Family(StrEnum):
    DIT = "dit"  # class-conditional transformer (Peebles and Xie, arXiv 2212.09748)
    STABLE_DIFFUSION = "stable-diffusion"  # versions 1 and 2: a U-Net with text prompts
    STABLE_DIFFUSION_3 = "stable-diffusion-3"  # MMDiT with text prompts and flow matching

    @property
    def prompted(self) -> bool:
        """Whether its models take a text prompt; the others take the number of a label."""
        return self is not Family.DIT

    @property
    def flow(self) -> bool:
        """Whether its models are trained by flow matching; the others predict noise or v."""
        return self is Family.STABLE_DIFFUSION_3


@dataclass(frozen=True, kw_only=True)
class BackboneInfo:
    """The facts that a spec and a dataset must be compatible with.

    The catalog reads them once, from the configuration files of the backbone's folder.
    `block_names` are the blocks that can be tapped, by depth. `image_size` is in pixels.
    `labels` maps names to labels. `label_count` also counts labels without a name; a prompted model
    has none. `wordnet`: the labels are those of ImageNet-1K. `learned_variance`: the model predicts
    the variance of DDPM's steps.
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
        """Whether the model takes a text prompt; otherwise it takes the number of a label."""
        return self.family.prompted

    @property
    def flow(self) -> bool:
        """Whether the model is trained by flow matching."""
        return self.family.flow


def schedulers_of(flow: bool) -> tuple[Scheduler, ...]:
    """The schedulers that a backbone can use; the first is its default."""
    return tuple(scheduler for scheduler in Scheduler if (scheduler is Scheduler.FLOW_EULER) is flow)
