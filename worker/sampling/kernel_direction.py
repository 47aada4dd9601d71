"""The direction in which the features of a batch become those of its classes' real images."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from app.domain.spec import DistillationSpec
from worker.backbones.base import Backbone
from worker.guidance.kernel import kernel_for
from worker.guidance.objectives import objective_for
from worker.guidance.reference import noise
from worker.sampling.direction import StepState, Target


class KernelDirection:
    """-grad_x of the objective, summed over the classes of a batch."""

    def __init__(self, backbone: Backbone, spec: DistillationSpec, targets: Sequence[Target]) -> None:
        self.tap = spec.guidance.tap or default_tap(backbone.blocks)
        self._backbone = backbone
        self._spec = spec
        self._targets = targets
        self._objective = objective_for(spec.guidance)

    def __call__(self, state: StepState) -> Float[Tensor, "n c h w"]:
        """g_t = -grad_{x_t} of the objective at timestep t (DAP, Algorithm 1, line 6)."""
        if state.features is None:
            raise ValueError(f"no features of block {self.tap} to compare")
        with torch.enable_grad():
            distances = [self._distance(state.features[target.rows], target, state.t) for target in self._targets]
            objective = torch.stack(distances).sum()
        return -torch.autograd.grad(objective, state.x_t)[0]

    @torch.no_grad()
    def reference_features(self, target: Target, t: Int[Tensor, ""]) -> Float[Tensor, "m d"]:
        """phi(x_t^i, t, c) of the class's reference images, noised to t (DAP, eq. 8)."""
        eps = noise(target.reference.shape, target.class_name, int(t)).to(target.reference)
        labels = torch.full((len(eps),), target.label, device=eps.device)
        return self._backbone.features(self._backbone.add_noise(target.reference, eps, t), t, labels, self.tap)

    def _distance(self, synthetic: Tensor, target: Target, t: Tensor) -> Tensor:
        real = self.reference_features(target, t)
        return self._objective(kernel_for(self._spec, real), synthetic, real)


def default_tap(blocks: int) -> int:
    """The middle of the depth; the paper's taps are blocks 4-12 of 28."""
    return max(1, blocks // 2)
