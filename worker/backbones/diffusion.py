"""What the adapters of all diffusers models share: tapping, classifier-free guidance, latents,
precision.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from app.domain.backbone import BackboneInfo
from app.domain.class_conditioning import Condition
from app.domain.spec.sampling import Sampling
from worker.backbones.base import Conditions, Denoised, Hidden, Timestep
from worker.backbones.classifier_free_guidance import both_halves, guided_prediction
from worker.backbones.compiling import compile_blocks
from worker.backbones.schedules import Schedule
from worker.backbones.stepper import Stepper
from worker.backbones.tapping import recording_up_to, running_up_to, skipping
from worker.backbones.vae import Autoencoder


class DiffusionBackbone(ABC):
    """A frozen diffusers model, except for the call that differs between families.

    It computes in the dtype of its weights.

    Hidden states are converted to `latent_dtype`, because kernels need more than half precision.
    """

    compiled = False

    def __init__(self, info: BackboneInfo, *, revision: str, model: Any, vae: Autoencoder | None, schedule: Schedule) -> None:
        self.info = info
        self.revision = revision
        self.device: torch.device = model.device
        self.dtype: torch.dtype = model.dtype
        self.latent_dtype = torch.promote_types(model.dtype, torch.float32)
        self.latent_shape = (model.config.in_channels, model.config.sample_size, model.config.sample_size)
        self._model = model.requires_grad_(False).eval()
        self._vae = vae
        self._schedule = schedule
        self._blocks: tuple[torch.nn.Module, ...] = tuple(map(model.get_submodule, info.block_names))

    @property
    def memory_bytes(self) -> int:
        """Bytes of all weights and buffers."""
        tensors = {each.data_ptr(): each.nbytes for part in self._parts() for each in (*part.parameters(), *part.buffers())}
        return sum(tensors.values())

    @abstractmethod
    def conditions(self, given: Sequence[Condition], negative: str | None = None) -> Conditions: ...

    @abstractmethod
    def _predict(
        self, x_t: Float[Tensor, "n c h w"], t: Float[Tensor, " n"], conditions: tuple[Tensor, ...]
    ) -> Float[Tensor, "n c2 h w"]:
        """The call of the model itself, in its own dtype."""

    @abstractmethod
    def _hidden(self, output: Any) -> Float[Tensor, "n tokens channels"]:
        """The hidden state of the image in the output of a block."""

    def compile(self) -> None:
        """Have torch.compile take each block at its first call."""
        compile_blocks(self._to_compile())
        self.compiled = True

    def _to_compile(self) -> tuple[torch.nn.Module, ...]:
        return self._blocks

    def _parts(self) -> tuple[torch.nn.Module, ...]:
        return (self._model, *(self._vae.modules if self._vae else ()))

    def stepper(self, sampling: Sampling) -> Stepper:
        return self._schedule.stepper(sampling)

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

    def posterior_std(self, t: Timestep, t_prev: Timestep | None) -> float:
        return self._schedule.posterior_std(t, t_prev)

    def denoise(
        self,
        x_t: Float[Tensor, "n c h w"],
        t: Timestep,
        conditions: Conditions,
        cfg_scale: float,
        block_numbers: Sequence[int],
    ) -> Denoised:
        """As in `Backbone`.

        Under classifier-free guidance the blocks up to the last tap run once for each half, and
        autograd records the conditional half alone. The rest of the pass runs once over both
        halves, as in diffusers.
        """
        if cfg_scale <= 1:
            with recording_up_to(self._numbered(block_numbers), self._read) as hidden:
                prediction = self._pass(x_t, t, conditions.given)
            return Denoised(prediction, tuple(hidden))
        recorded = self._blocks_to_record(block_numbers)
        given = self._outputs(recorded, x_t, t, conditions.given)
        with torch.no_grad():
            null = self._outputs(recorded, x_t, t, conditions.null)
            before = self._blocks[: max(block_numbers, default=0)]
            with skipping(before, self._outputs_to_resume(given, null, len(before))):
                both = self._pass(torch.cat([x_t, x_t]), t, both_halves(conditions.given, conditions.null))
        prediction = guided_prediction(both, cfg_scale=cfg_scale, channels=x_t.shape[1])
        return Denoised(prediction, tuple(map(self._read, self._tapped_outputs(given, block_numbers))))

    def hidden(
        self, x_t: Float[Tensor, "n c h w"], t: Timestep, conditions: Conditions, block_numbers: Sequence[int]
    ) -> Hidden:
        with running_up_to(self._numbered(block_numbers), self._read) as hidden:
            self._pass(x_t, t, conditions.given)
        return tuple(hidden)

    # A pass resumes behind the last tap. Most models need the output of that block alone; a UNet
    # overrides these three, since its skip connections also take the outputs of earlier blocks.

    def _blocks_to_record(self, block_numbers: Sequence[int]) -> Sequence[torch.nn.Module]:
        """The blocks whose outputs are needed: to read the taps, and to resume the pass."""
        return self._numbered(block_numbers)

    def _outputs_to_resume(self, given: Sequence[Any], null: Sequence[Any], count: int) -> Sequence[Any]:
        """The outputs of the first `count` blocks for both halves.

        Only the last one is looked at.
        """
        return [both_halves(given[-1], null[-1])] * count if count else []

    def _tapped_outputs(self, outputs: Sequence[Any], _block_numbers: Sequence[int]) -> Sequence[Any]:
        """The outputs of the tapped blocks among the recorded ones."""
        return outputs

    def _outputs(self, blocks: Sequence[torch.nn.Module], x_t: Tensor, t: Tensor, conditions: tuple[Tensor, ...]) -> list[Any]:
        """The outputs of these blocks. The rest of the pass does not run."""
        if not blocks:
            return []
        with running_up_to(blocks, lambda output: output) as outputs:
            self._pass(x_t, t, conditions)
        return outputs

    def _numbered(self, block_numbers: Sequence[int]) -> list[torch.nn.Module]:
        return [self._blocks[number - 1] for number in block_numbers]

    def _read(self, output: Any) -> Float[Tensor, "n tokens channels"]:
        return self._hidden(output).to(self.latent_dtype)

    def _pass(self, x_t: Tensor, t: Tensor, conditions: tuple[Tensor, ...]) -> Tensor:
        return self._predict(x_t.to(self.dtype), t.to(self.device).expand(len(x_t)), conditions).to(self.latent_dtype)
