"""Guidance of a batch: the term that is added to the scheduler's step, during the steps of its
window.
"""

from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Tensor

from app.domain.spec.bandwidth import KernelChoice
from app.domain.spec.guidance import Guidance, Objective
from worker.backbones.base import Backbone
from worker.guidance.base import Direction, StepState
from worker.guidance.kernel_guidance import EstimatorError, KernelGuidance, MedianDistance
from worker.guidance.mode_guidance import ModeGuidance
from worker.guidance.scale import SCALES, without_effect
from worker.references.base import TapPoint, Target


class GuidanceTerm:
    """A direction with the window and the scale of the job."""

    def __init__(self, direction: Direction, guidance: Guidance) -> None:
        self.tap = direction.tap
        self.without_gradient: list[Bool[Tensor, " n"]] = []
        self._direction = direction
        self._guidance = guidance
        self._scale = SCALES[guidance.scale_mode]

    @property
    def estimator_errors(self) -> Sequence[EstimatorError]:
        """The errors of the reference images measured so far, where there are probes."""
        return self._direction.estimator_errors if isinstance(self._direction, KernelGuidance) else ()

    @property
    def median_distances(self) -> Sequence[MedianDistance]:
        """The median distances between real features met so far, where features are compared."""
        return self._direction.median_distances if isinstance(self._direction, KernelGuidance) else ()

    def active(self, step: int, steps: int) -> bool:
        """Whether step 0..steps-1 is guided."""
        return self._guidance.acts_at(step, steps)

    def guidance(self, state: StepState, step: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """What to add to the scheduler's `step` = x_{t-1} - x_t.

        Records in `without_gradient` which images it leaves alone.
        """
        gradient = self._direction(state)
        guidance = self._scale(gradient, step, self._guidance.scale)
        self.without_gradient.append(without_effect(guidance, gradient, step).cpu())
        return guidance


def guidance_for(
    guidance: Guidance, kernel: KernelChoice, tap: TapPoint, backbone: Backbone, targets: Sequence[Target]
) -> GuidanceTerm | None:
    """The guidance that a job asks for; None where it asks for none."""
    if not guidance.is_active:
        return None
    if guidance.objective is Objective.MODE:
        return GuidanceTerm(ModeGuidance(backbone, targets), guidance)
    return GuidanceTerm(KernelGuidance(guidance, kernel, tap, targets), guidance)
