"""The direction of each image's own mode (MGD3, arXiv 2505.18963)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from worker.backbones.base import Backbone
from worker.sampling.direction import StepState, Target


class ModeDirection:
    """sigma_t (m - x0_pred), m the mode of the image's row. No features, no gradient: it costs what plain sampling costs."""

    tap = None

    def __init__(self, backbone: Backbone, targets: Sequence[Target]) -> None:
        self._backbone = backbone
        self._modes = [(target.rows, _modes_of(target)) for target in targets]

    def __call__(self, state: StepState) -> Float[Tensor, "n c h w"]:
        """sigma_t is the standard deviation of the reverse step; zero at the last one, which has no noise to scale with."""
        x0 = self._backbone.predicted_x0(state.x_t, state.prediction, state.t)
        towards = torch.zeros_like(x0)
        for rows, modes in self._modes:
            towards[rows] = modes - x0[rows]
        return self._backbone.posterior_std(state.t, state.earlier) * towards


def _modes_of(target: Target) -> Tensor:
    if target.modes is None:
        raise ValueError(f"class {target.class_name!r} came without its modes")
    return target.modes
