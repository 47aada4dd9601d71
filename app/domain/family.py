"""The kinds of diffusion model there are."""

from enum import StrEnum

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


def schedulers_of(flow: bool) -> tuple[Scheduler, ...]:
    """The reverse processes of a model; the first is its default."""
    return tuple(scheduler for scheduler in Scheduler if (scheduler is Scheduler.FLOW_EULER) is flow)
