"""What the service asks of a diffusion model, wherever it is: in a folder, or in memory."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from app.domain.spec import Scheduler


class Family(StrEnum):
    DIT = "dit"
    STABLE_DIFFUSION = "stable-diffusion"
    STABLE_DIFFUSION_3 = "stable-diffusion-3"

    @property
    def prompted(self) -> bool:
        """Whether it takes words; otherwise it takes the number of a label."""
        return self is not Family.DIT

    @property
    def flow(self) -> bool:
        """Whether it learned flow matching; otherwise it predicts noise, or a velocity between noise and image."""
        return self is Family.STABLE_DIFFUSION_3


class Model(Protocol):
    """What a spec and a dataset must fit: a backbone, loaded or not.

    `taps` are the names of its blocks in order of depth, `image_size` is a side in pixels, `labels` the label of each class it
    knows by name, `label_count` how many labels there are, with or without a name. `wordnet`: the labels are ImageNet-1K's.
    `prompted`: it takes words and has no labels. `flow`: it learned flow matching. `learned_variance`: it predicts the variance
    of DDPM's steps.
    """

    @property
    def name(self) -> str: ...
    @property
    def taps(self) -> tuple[str, ...]: ...
    @property
    def image_size(self) -> int: ...
    @property
    def labels(self) -> Mapping[str, int]: ...
    @property
    def label_count(self) -> int: ...
    @property
    def wordnet(self) -> bool: ...
    @property
    def prompted(self) -> bool: ...
    @property
    def flow(self) -> bool: ...
    @property
    def learned_variance(self) -> bool: ...


def schedulers_of(flow: bool) -> tuple[Scheduler, ...]:
    """The reverse processes of a model; the first is its default."""
    return tuple(scheduler for scheduler in Scheduler if (scheduler is Scheduler.FLOW_EULER) is flow)
