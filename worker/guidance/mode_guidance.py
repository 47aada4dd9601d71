"""Mode guidance: move each image towards its own mode (MGD3, arXiv 2505.18963)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from worker.backbones.base import Backbone
from worker.guidance.base import StepState
from worker.references.base import Target


class ModeGuidance:
    """sigma_t (m - x0_pred), m the mode of the row of the image.

    It needs no features and no gradient.
    """

    tap = None

    def __init__(self, backbone: Backbone, targets: Sequence[Target]) -> None:
        self._backbone = backbone
        self._modes = [(target.rows, _modes_of(target)) for target in targets]

    def __call__(self, state: StepState) -> Float[Tensor, "n c h w"]:
        """sigma_t is the standard deviation of the reverse step.

        At the last step, which has no noise, it is 0.
        """
        x0 = self._backbone.predicted_x0(state.x_t, state.prediction, state.t)
        to_mode = torch.zeros_like(x0)
        for rows, modes in self._modes:
            to_mode[rows] = modes - x0[rows]
        return self._backbone.posterior_std(state.t, state.t_prev) * to_mode


def _modes_of(target: Target) -> Tensor:
    if target.modes is None:
        raise ValueError(f"the target of class {target.class_name!r} has no modes")
    return target.modes
