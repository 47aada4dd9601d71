"""The contract of a diffusion backbone: what sampling and guidance ask of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from app.domain.backbone import BackboneInfo
from app.domain.class_conditioning import Condition
from app.domain.spec.sampling import Sampling
from worker.backbones.stepper import Stepper

Timestep = Shaped[Tensor, ""]  # int64 for noise prediction, float32 for flow matching
Hidden = tuple[Float[Tensor, "n _ _"], ...]  # [n, tokens, channels], one per tapped block, in order of depth


@dataclass(frozen=True)
class Conditions:
    """The conditions of n images as the model takes them, and the null conditions of
    classifier-free guidance.

    Both are tensors whose first axis is n.
    """

    given: tuple[Tensor, ...]
    null: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.given[0])

    def __getitem__(self, rows: slice) -> "Conditions":
        return Conditions(tuple(each[rows] for each in self.given), tuple(each[rows] for each in self.null))

    def repeat(self, count: int) -> "Conditions":
        """Each row `count` times, one after another."""
        return Conditions(
            tuple(each.repeat_interleave(count, 0) for each in self.given),
            tuple(each.repeat_interleave(count, 0) for each in self.null),
        )

    @classmethod
    def concatenated(cls, parts: Sequence["Conditions"]) -> "Conditions":
        """The rows of all parts, in order."""
        return cls(
            tuple(torch.cat(column) for column in zip(*(part.given for part in parts), strict=True)),
            tuple(torch.cat(column) for column in zip(*(part.null for part in parts), strict=True)),
        )


@dataclass(frozen=True)
class Denoised:
    """The result of one pass.

    `prediction` is what the step of the scheduler takes: noise, velocity, or noise and variance.
    `hidden` are the tapped hidden states; under classifier-free guidance those of the conditional
    half.
    """

    prediction: Float[Tensor, "n c2 h w"]
    hidden: Hidden


@runtime_checkable
class Backbone(Protocol):
    """A pretrained, frozen diffusion model. Everything particular to a model ends in its adapter.

    `revision` identifies the loaded files. The model computes in `dtype`; latents have
    `latent_dtype`, float32 or wider. Blocks are numbered from 1, in the order of
    `info.block_names`.
    """

    info: BackboneInfo
    revision: str
    device: torch.device
    dtype: torch.dtype
    latent_dtype: torch.dtype
    latent_shape: tuple[int, int, int]
    compiled: bool

    def stepper(self, sampling: Sampling) -> Stepper:
        """A new reverse process on the noise schedule of the model.

        Raises InvalidSpec naming `sampling.scheduler` if the model cannot be sampled with it,
        `sampling.variance` if the job asks for a learned variance that the model does not predict,
        `sampling.steps` if the schedule has fewer timesteps.
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
        """x_0 according to the prediction, clamped if the noise schedule of the model clips it."""
        ...

    def posterior_std(self, t: Timestep, t_prev: Timestep | None) -> float:
        """Standard deviation of x at `t_prev` given x_t and x_0.

        It is 0 where `t_prev` is None, which means x_0.
        """
        ...

    def conditions(self, given: Sequence[Condition], negative: str | None = None) -> Conditions:
        """One row per condition. `negative` is the null prompt of a prompted model."""
        ...

    def denoise(
        self,
        x_t: Float[Tensor, "n c h w"],
        t: Timestep,
        conditions: Conditions,
        cfg_scale: float,
        block_numbers: Sequence[int],
    ) -> Denoised:
        """The prediction at x_t under classifier-free guidance, with the hidden states phi(x_t, t,
        c) of the same pass.

        If x_t requires a gradient, autograd reaches it through the hidden states only. Nothing
        after the last tapped block is recorded.
        """
        ...

    def hidden(
        self, x_t: Float[Tensor, "n c h w"], t: Timestep, conditions: Conditions, block_numbers: Sequence[int]
    ) -> Hidden:
        """phi(x_t, t, c): the hidden states after these blocks.

        Nothing after the last of them is computed.
        """
        ...


def timestep_zero(backbone: Backbone) -> Timestep:
    """The timestep of images without noise."""
    return torch.zeros((), dtype=torch.float32 if backbone.info.flow else torch.int64)
