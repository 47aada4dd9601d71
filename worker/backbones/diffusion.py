"""What every diffusers model has in common: taps, guidance without a classifier, latents, precision."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from app.domain.conditions import Condition
from app.domain.spec import Sampling
from worker.backbones.autoencoder import Autoencoder
from worker.backbones.base import Conditions, Denoised, Hidden, Timestep
from worker.backbones.compiling import compile_blocks
from worker.backbones.schedules import Schedule
from worker.backbones.tapping import recording_up_to, running_up_to, skipping


class DiffusionBackbone(ABC):
    """A frozen diffusers model, all but the call that is its family's own. It computes in the dtype of its weights.

    `blocks`: those that can be tapped, by name, in the order in which they run. Hidden states come in `latent_dtype`, as
    kernels need more than half precision.
    """

    labels: Mapping[str, int] = {}
    label_count = 0
    wordnet = False
    prompted = False
    learned_variance = False
    compiled = False
    _skips = False  # whether more of a block's output than the next block takes is used later

    def __init__(
        self,
        *,
        name: str,
        revision: str,
        model: Any,
        vae: Autoencoder | None,
        schedule: Schedule,
        blocks: Mapping[str, torch.nn.Module],
    ) -> None:
        self.name = name
        self.revision = revision
        self.flow = schedule.flow
        self.taps = tuple(blocks)
        self.device: torch.device = model.device
        self.dtype: torch.dtype = model.dtype
        self.latent_dtype = torch.promote_types(model.dtype, torch.float32)
        self.latent_shape = (model.config.in_channels, model.config.sample_size, model.config.sample_size)
        self.image_size: int = model.config.sample_size * (vae.ratio if vae else 1)
        self.channels: int = vae.image_channels if vae else model.config.in_channels
        self._model = model.requires_grad_(False).eval()
        self._vae = vae
        self._schedule = schedule
        self._blocks = tuple(blocks.values())

    @property
    def memory_bytes(self) -> int:
        """Bytes of all weights and buffers."""
        tensors = {one.data_ptr(): one.nbytes for part in self._parts() for one in (*part.parameters(), *part.buffers())}
        return sum(tensors.values())

    @abstractmethod
    def conditions(self, given: Sequence[Condition], negative: str | None = None) -> Conditions: ...

    @abstractmethod
    def _predict(
        self, x_t: Float[Tensor, "n c h w"], t: Float[Tensor, " n"], conditions: tuple[Tensor, ...]
    ) -> Float[Tensor, "n c2 h w"]:
        """The model's own call, in its own dtype."""

    @abstractmethod
    def _hidden(self, output: Any) -> Float[Tensor, "n tokens channels"]:
        """The image's hidden state in what a block returns."""

    def compile(self) -> None:
        """Have torch.compile take the blocks, each at its first call."""
        compile_blocks(self._to_compile())
        self.compiled = True

    def _to_compile(self) -> tuple[torch.nn.Module, ...]:
        return self._blocks

    def _parts(self) -> tuple[torch.nn.Module, ...]:
        return (self._model, *(self._vae.modules if self._vae else ()))

    def scheduler(self, sampling: Sampling) -> Any:
        return self._schedule.scheduler(sampling)

    def encode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        return (self._vae.encode(images) if self._vae else images).to(self.latent_dtype)

    def decode(self, latents: Float[Tensor, "n c2 h2 w2"]) -> Float[Tensor, "n c h w"]:
        return (self._vae.decode(latents) if self._vae else latents).clamp(-1, 1)

    def add_noise(self, x0: Float[Tensor, "n c h w"], eps: Float[Tensor, "n c h w"], t: Timestep) -> Float[Tensor, "n c h w"]:
        return self._schedule.add_noise(x0, eps, t)

    def predicted_x0(
        self, x_t: Float[Tensor, "n c h w"], prediction: Float[Tensor, "n c2 h w"], t: Timestep
    ) -> Float[Tensor, "n c h w"]:
        return self._schedule.predicted_x0(x_t, prediction, t)

    def posterior_std(self, t: Timestep, earlier: Timestep | None) -> float:
        return self._schedule.posterior_std(t, earlier)

    def denoise(
        self,
        x_t: Float[Tensor, "n c h w"],
        t: Timestep,
        conditions: Conditions,
        cfg_scale: float,
        taps: Sequence[int],
    ) -> Denoised:
        """null + cfg_scale (given - null) (Ho and Salimans, arXiv 2207.12598, eq. 6), and as in `Backbone`.

        Under classifier-free guidance the blocks up to the last tap run for each half, autograd recording the conditional
        one; the rest runs once over both, as diffusers has it. A learned variance is that of the conditional half, as in the
        original DiT sampling.
        """
        if cfg_scale <= 1:
            with recording_up_to(self._tapped(taps), self._read) as hidden:
                prediction = self._pass(x_t, t, conditions.given)
            return Denoised(prediction, tuple(hidden))
        before = self._blocks[: max(taps, default=0)]
        given = self._outputs(before if self._skips else self._tapped(taps), x_t, t, conditions.given)
        with torch.no_grad():
            null = self._outputs(before if self._skips else before[-1:], x_t, t, conditions.null)
            joined = list(map(_together, given if self._skips else given[-1:], null))
            pairs = zip(conditions.given, conditions.null, strict=True)
            with skipping(before, joined if self._skips else joined * len(before)):  # only the last is looked at
                both = self._pass(torch.cat([x_t, x_t]), t, tuple(map(torch.cat, pairs)))
        prediction = _guided(*both.chunk(2), cfg_scale=cfg_scale, channels=x_t.shape[1])
        return Denoised(prediction, tuple(map(self._read, [given[tap - 1] for tap in taps] if self._skips else given)))

    def hidden(self, x_t: Float[Tensor, "n c h w"], t: Timestep, conditions: Conditions, taps: Sequence[int]) -> Hidden:
        with running_up_to(self._tapped(taps), self._read) as hidden:
            self._pass(x_t, t, conditions.given)
        return tuple(hidden)

    def _outputs(self, blocks: Sequence[torch.nn.Module], x_t: Tensor, t: Tensor, conditions: tuple[Tensor, ...]) -> list[Any]:
        """What the blocks return, the rest of the pass left out."""
        if not blocks:
            return []
        with running_up_to(blocks, lambda output: output) as outputs:
            self._pass(x_t, t, conditions)
        return outputs

    def _tapped(self, taps: Sequence[int]) -> list[torch.nn.Module]:
        return [self._blocks[tap - 1] for tap in taps]

    def _read(self, output: Any) -> Float[Tensor, "n tokens channels"]:
        return self._hidden(output).to(self.latent_dtype)

    def _pass(self, x_t: Tensor, t: Tensor, conditions: tuple[Tensor, ...]) -> Tensor:
        return self._predict(x_t.to(self.dtype), t.to(self.device).expand(len(x_t)), conditions).to(self.latent_dtype)


def _together(given: Any, null: Any) -> Any:
    """One batch of the outputs of a block for both halves: tensors, or tuples of them."""
    if isinstance(given, tuple):
        return tuple(map(_together, given, null))
    return None if given is None else torch.cat([given, null])


def _guided(given: Tensor, null: Tensor, *, cfg_scale: float, channels: int) -> Tensor:
    mean = torch.lerp(null[:, :channels], given[:, :channels], cfg_scale)
    return mean if given.shape[1] == channels else torch.cat([mean, given[:, channels:]], 1)
