"""What sampling and guidance ask of a diffusion model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from app.domain.conditions import Condition
from app.domain.spec import Sampling

Timestep = Shaped[Tensor, ""]  # one of a scheduler's: int64 for noise prediction, float32 for flow matching
Hidden = tuple[Float[Tensor, "n _ _"], ...]  # [n, tokens, channels], one per tapped block, in order of depth


@dataclass(frozen=True)
class Conditions:
    """What n images shall show, as the model takes it: tensors whose first axis is n, and those that stand for nothing."""

    given: tuple[Tensor, ...]
    null: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.given[0])

    def __getitem__(self, rows: slice) -> "Conditions":
        return Conditions(tuple(one[rows] for one in self.given), tuple(one[rows] for one in self.null))

    def repeat(self, count: int) -> "Conditions":
        """Each row `count` times, one after another."""
        return Conditions(
            tuple(one.repeat_interleave(count, 0) for one in self.given),
            tuple(one.repeat_interleave(count, 0) for one in self.null),
        )


@dataclass(frozen=True)
class Denoised:
    """One pass: what the scheduler's step takes (noise, velocity, or noise and variance), and the tapped hidden states.

    The hidden states are those of the conditional half.
    """

    prediction: Float[Tensor, "n c2 h w"]
    hidden: Hidden


@runtime_checkable
class Backbone(Protocol):
    """A pretrained, frozen diffusion model behind one small contract. Its quirks end in the adapter.

    `taps` are the names of the blocks that can be tapped, in the order in which they run; a tap is a number, 1 = the first.
    Latents are `latent_dtype`: float32 at least, whatever `dtype` the model computes in. A model with `prompted` takes words
    for conditions, any other the number of a label; `labels` is empty for the former.
    """

    name: str
    revision: str
    latent_shape: tuple[int, int, int]
    latent_dtype: torch.dtype
    dtype: torch.dtype
    compiled: bool
    image_size: int
    channels: int
    taps: tuple[str, ...]
    labels: Mapping[str, int]
    label_count: int
    wordnet: bool
    prompted: bool
    flow: bool
    learned_variance: bool
    device: torch.device

    def scheduler(self, sampling: Sampling) -> Any:
        """A fresh diffusers scheduler on the model's own noise schedule, its timesteps set.

        It starts from x_T ~ N(0, I), the model takes x_t as it is, and `step` takes what `denoise` predicts, whether or not it
        has use for a learned variance. Raises InvalidSpec naming `sampling.scheduler` if the model cannot be sampled so,
        `sampling.variance` if a learned one is wanted that there is not, `sampling.steps` if the schedule has not as many
        different timesteps.
        """
        ...

    def encode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        """Latents of images in [-1, 1]."""
        ...

    def decode(self, latents: Float[Tensor, "n c2 h2 w2"]) -> Float[Tensor, "n c h w"]:
        """Images of latents, clamped to [-1, 1]."""
        ...

    def add_noise(self, x0: Float[Tensor, "n c h w"], eps: Float[Tensor, "n c h w"], t: Timestep) -> Float[Tensor, "n c h w"]:
        """x_t of latents x_0 under the forward process."""
        ...

    def predicted_x0(
        self, x_t: Float[Tensor, "n c h w"], prediction: Float[Tensor, "n c2 h w"], t: Timestep
    ) -> Float[Tensor, "n c h w"]:
        """x_0 if the prediction is right; clamped where the model's noise schedule clips it."""
        ...

    def posterior_std(self, t: Timestep, earlier: Timestep | None) -> float:
        """Standard deviation of x at the `earlier` timestep given x_t and x_0; zero where that is x_0 itself (None)."""
        ...

    def conditions(self, given: Sequence[Condition], negative: str | None = None) -> Conditions:
        """One row for each of `given`. `negative`: the words that stand for nothing, in a model that takes words."""
        ...

    def denoise(
        self,
        x_t: Float[Tensor, "n c h w"],
        t: Timestep,
        conditions: Conditions,
        cfg_scale: float,
        taps: Sequence[int],
    ) -> Denoised:
        """The model's prediction at x_t under classifier-free guidance, and phi(x_t, t, c) from the same pass.

        Where x_t requires a gradient, autograd reaches it through the hidden states and only through them: nothing past the
        last tap is recorded.
        """
        ...

    def hidden(self, x_t: Float[Tensor, "n c h w"], t: Timestep, conditions: Conditions, taps: Sequence[int]) -> Hidden:
        """phi(x_t, t, c): the hidden states after the tapped blocks; nothing past the last of them is computed."""
        ...
