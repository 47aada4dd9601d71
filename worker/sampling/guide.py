"""Guidance of a batch: which way, during which steps, and how far."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from app.domain.spec import DistillationSpec, Guidance, Objective
from worker.backbones.base import Backbone
from worker.guidance.scale import SCALES
from worker.sampling.direction import Direction, StepState, Target
from worker.sampling.kernel_direction import KernelDirection
from worker.sampling.mode_direction import ModeDirection


class Guide:
    """A direction with the spec's start, stop and scale."""

    def __init__(self, direction: Direction, guidance: Guidance) -> None:
        self.tap = direction.tap
        self._direction = direction
        self._guidance = guidance
        self._scale = SCALES[guidance.scale_mode]

    def active(self, step: int, steps: int) -> bool:
        """Whether step 0..steps-1 lies in the guided part of the trajectory."""
        return self._guidance.start <= step / steps < self._guidance.stop

    def guidance(self, state: StepState, step: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """What to add to the scheduler's `step` = x_{t-1} - x_t."""
        return self._scale(self._direction(state), step, self._guidance.scale)


def guide_for(backbone: Backbone, spec: DistillationSpec, targets: Sequence[Target]) -> Guide | None:
    """The guidance a spec asks for; None where it asks for none."""
    if spec.guidance.objective is Objective.NONE or spec.guidance.scale == 0:
        return None
    if spec.guidance.objective is Objective.MODE:
        return Guide(ModeDirection(backbone, targets), spec.guidance)
    return Guide(KernelDirection(backbone, spec, targets), spec.guidance)
