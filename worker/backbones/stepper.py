"""One reverse process: the timesteps, and the scheduler's step from x_t to the next."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class Stepper:
    """A diffusers scheduler whose timesteps are set.

    It starts from x_T ~ N(0, I), and the model takes x_t unscaled.

    `timesteps` are on the CPU, so that a step on a GPU waits for nothing. `takes_variance`: the
    step uses the learned variance behind the prediction; otherwise that variance, if there is one,
    is left out.
    """

    def __init__(self, scheduler: Any, *, takes_variance: bool = False) -> None:
        self.scheduler = scheduler
        self._takes_variance = takes_variance

    @property
    def timesteps(self) -> Tensor:
        return self.scheduler.timesteps

    def step(
        self,
        prediction: Float[Tensor, "n c2 h w"],
        t: Tensor,
        x_t: Float[Tensor, "n c h w"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, "n c h w"]:
        """x at the next timestep. Image i draws its noise, if there is any, from generator i."""
        taken = prediction if self._takes_variance else prediction[:, : x_t.shape[1]]
        return self.scheduler.step(taken, t, x_t, generator=list(generators)).prev_sample
