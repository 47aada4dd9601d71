"""Guidance of a batch: which way, during which steps, and how far."""

from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Tensor

from app.domain.spec import DistillationSpec, Guidance, Objective
from app.domain.taps import positions
from app.domain.window import is_guided
from worker.backbones.base import Backbone
from worker.guidance.features import FeatureMap
from worker.guidance.scale import SCALES, without_effect
from worker.sampling.direction import Direction, StepState, Tap, Target
from worker.sampling.kernel_direction import EstimatorError, KernelDirection, MedianDistance
from worker.sampling.mode_direction import ModeDirection


class Guide:
    """A direction with the spec's start, stop and scale."""

    def __init__(self, direction: Direction, guidance: Guidance) -> None:
        self.tap = direction.tap
        self.without_gradient: list[Bool[Tensor, " n"]] = []
        self._direction = direction
        self._guidance = guidance
        self._scale = SCALES[guidance.scale_mode]

    @property
    def estimator_errors(self) -> Sequence[EstimatorError]:
        """What the reference images were found to be worth so far, where there are probes."""
        return self._direction.estimator_errors if isinstance(self._direction, KernelDirection) else ()

    @property
    def median_distances(self) -> Sequence[MedianDistance]:
        """The median distances between real features so far, where features are compared."""
        return self._direction.median_distances if isinstance(self._direction, KernelDirection) else ()

    def active(self, step: int, steps: int) -> bool:
        """Whether step 0..steps-1 lies in the guided part of the trajectory."""
        return is_guided(self._guidance, step, steps)

    def guidance(self, state: StepState, step: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """What to add to the scheduler's `step` = x_{t-1} - x_t. Notes in `without_gradient` which images it leaves alone."""
        gradient = self._direction(state)
        guidance = self._scale(gradient, step, self._guidance.scale)
        self.without_gradient.append(without_effect(guidance, gradient, step).cpu())
        return guidance


def guide_for(backbone: Backbone, spec: DistillationSpec, targets: Sequence[Target]) -> Guide | None:
    """The guidance a spec asks for; None where it asks for none."""
    if spec.guidance.objective is Objective.NONE or spec.guidance.scale == 0:
        return None
    if spec.guidance.objective is Objective.MODE:
        return Guide(ModeDirection(backbone, targets), spec.guidance)
    return Guide(KernelDirection(spec, tap_of(spec, backbone), targets), spec.guidance)


def tap_of(spec: DistillationSpec, backbone: Backbone) -> Tap:
    """What a spec compares: where the backbone is tapped, and what of the hidden states."""
    guidance = spec.guidance
    return Tap(positions(guidance.tap, backbone.taps), FeatureMap(guidance.features, guidance.projection))
