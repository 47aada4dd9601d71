"""Kernel guidance of a batch: the gradient that pulls each class's images towards its real ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from app.domain.spec import DistillationSpec, Objective
from worker.backbones.base import Backbone
from worker.guidance.kernel import kernel_for
from worker.guidance.objectives import objective_for
from worker.guidance.reference import noise
from worker.guidance.scale import SCALES


@dataclass(frozen=True)
class Target:
    """The rows of the batch that belong to one class, and the latents of the real images that stand for it."""

    class_name: str
    label: int
    rows: slice
    reference: Float[Tensor, "m c h w"]


class Guide:
    """-grad_x of the objective, summed over the classes of a batch."""

    def __init__(self, backbone: Backbone, spec: DistillationSpec, targets: Sequence[Target]) -> None:
        self.tap = spec.guidance.tap or default_tap(backbone.blocks)
        self._backbone = backbone
        self._spec = spec
        self._guidance = spec.guidance
        self._targets = targets
        self._objective = objective_for(spec.guidance)
        self._scale = SCALES[spec.guidance.scale_mode]

    def active(self, step: int, steps: int) -> bool:
        """Whether step 0..steps-1 lies in the guided part of the trajectory."""
        return self._guidance.start <= step / steps < self._guidance.stop

    def gradient(
        self, features: Float[Tensor, "n d"], x_t: Float[Tensor, "n c h w"], t: Int[Tensor, ""]
    ) -> Float[Tensor, "n c h w"]:
        """g_t = -grad_{x_t} of the objective at timestep t (DAP, Algorithm 1, line 6); `features` must depend on `x_t`."""
        with torch.enable_grad():
            objective = torch.stack([self._distance(features[target.rows], target, t) for target in self._targets]).sum()
        return -torch.autograd.grad(objective, x_t)[0]

    def scaled(self, gradient: Float[Tensor, "n c h w"], step: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The guidance to add to the scheduler's `step` = x_{t-1} - x_t."""
        return self._scale(gradient, step, self._guidance.scale)

    @torch.no_grad()
    def reference_features(self, target: Target, t: Int[Tensor, ""]) -> Float[Tensor, "m d"]:
        """phi(x_t^i, t, c) of the class's reference images, noised to t (DAP, eq. 8)."""
        eps = noise(target.reference.shape, target.class_name, int(t)).to(target.reference)
        labels = torch.full((len(eps),), target.label, device=eps.device)
        return self._backbone.features(self._backbone.add_noise(target.reference, eps, t), t, labels, self.tap)

    def _distance(self, synthetic: Tensor, target: Target, t: Tensor) -> Tensor:
        real = self.reference_features(target, t)
        return self._objective(kernel_for(self._spec, real), synthetic, real)


def guide_for(backbone: Backbone, spec: DistillationSpec, targets: Sequence[Target]) -> Guide | None:
    """The guidance a spec asks for; None where it asks for none."""
    if spec.guidance.objective is Objective.NONE or spec.guidance.scale == 0:
        return None
    return Guide(backbone, spec, targets)


def default_tap(blocks: int) -> int:
    """The middle of the depth; the paper's taps are blocks 4-12 of 28."""
    return max(1, blocks // 2)
