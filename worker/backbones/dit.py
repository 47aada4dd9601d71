"""Class-conditional DiT in diffusers' folder format, with or without a VAE (Peebles and Xie, arXiv 2212.09748)."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, DiTTransformer2DModel, DPMSolverMultistepScheduler
from jaxtyping import Float, Int
from torch import Tensor

from app.domain.errors import BackboneUnavailable, InvalidSpec
from app.domain.spec import Scheduler
from app.storage.backbones import BackboneFolder
from worker.backbones.base import Denoised

SCHEDULERS = {
    Scheduler.DDPM: DDPMScheduler,
    Scheduler.DDIM: DDIMScheduler,
    Scheduler.DPM_SOLVER_PP: DPMSolverMultistepScheduler,
}


Model = TypeVar("Model", DiTTransformer2DModel, AutoencoderKL)


class DiTBackbone:
    """DiTTransformer2DModel with class labels; without a VAE its latents are the pixels.

    The null label is the last row of the label embedding. A learned sigma (twice the channels) is cut off.
    """

    def __init__(
        self,
        *,
        name: str,
        revision: str,
        transformer: DiTTransformer2DModel,
        vae: AutoencoderKL | None,
        scheduler_config: Mapping[str, Any],
        labels: Mapping[str, int],
    ) -> None:
        self.name = name
        self.revision = revision
        self.labels = labels
        self._transformer = transformer.requires_grad_(False).eval()
        self._vae = None if vae is None else vae.requires_grad_(False).eval()
        self._scheduler_config = scheduler_config
        schedule = DDPMScheduler.from_config(dict(scheduler_config))
        self._alphas_cumprod = schedule.alphas_cumprod
        self._x0_limit = schedule.config.clip_sample_range if schedule.config.clip_sample else math.inf
        config = transformer.config
        self.device = transformer.device
        self.dtype = transformer.dtype
        self.latent_shape = (config.in_channels, config.sample_size, config.sample_size)
        self.blocks = config.num_layers
        self.null_label = config.num_embeds_ada_norm
        self.image_size = config.sample_size * (2 ** (len(vae.config.block_out_channels) - 1) if vae else 1)
        self.channels = vae.config.out_channels if vae else config.in_channels

    @classmethod
    def load(cls, folder: BackboneFolder, device: torch.device) -> "DiTBackbone":
        """The model in `folder`, safetensors only. Raises BackboneUnavailable naming the folder."""
        try:
            transformer = _read(DiTTransformer2DModel, folder.path / "transformer")
            has_vae = (folder.path / "vae" / "config.json").is_file()
            vae = _read(AutoencoderKL, folder.path / "vae") if has_vae else None
            config = json.loads((folder.path / "scheduler" / "scheduler_config.json").read_text())
            DDPMScheduler.from_config(dict(config))  # refuses a schedule it does not know
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise BackboneUnavailable(f"backbone {folder.name!r}: {' '.join(str(error).split())[:500]}") from error
        return cls(
            name=folder.name,
            revision=folder.revision(),
            transformer=transformer.to(device),
            vae=None if vae is None else vae.to(device),
            scheduler_config=config,
            labels=folder.labels,
        )

    def scheduler(self, name: Scheduler, steps: int) -> Any:
        scheduler = SCHEDULERS[name].from_config(dict(self._scheduler_config))
        trained = scheduler.config.num_train_timesteps
        if steps <= trained:
            scheduler.set_timesteps(steps, device=self.device)
        # DPM-Solver++ rounds some into one where they are dense, and then runs off the end of its own schedule.
        if steps > trained or len(set(scheduler.timesteps.tolist())) < steps:
            raise InvalidSpec.of("sampling.steps", f"{name} on {self.name} cannot take {steps} different steps; ask for fewer")
        return scheduler

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        if self._vae is None:
            return images
        return self._vae.encode(images).latent_dist.mode() * self._vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "n c2 h2 w2"]) -> Float[Tensor, "n c h w"]:
        if self._vae is not None:
            latents = self._vae.decode(latents / self._vae.config.scaling_factor).sample
        return latents.clamp(-1, 1)

    def add_noise(
        self, x0: Float[Tensor, "n c h w"], eps: Float[Tensor, "n c h w"], t: Int[Tensor, ""]
    ) -> Float[Tensor, "n c h w"]:
        """sqrt(alphas_cumprod_t) x_0 + sqrt(1 - alphas_cumprod_t) eps (Ho et al., arXiv 2006.11239, eq. 4)."""
        alpha = self._alphas_cumprod[int(t)].to(x0)
        return alpha.sqrt() * x0 + (1 - alpha).sqrt() * eps

    def predicted_x0(
        self, x_t: Float[Tensor, "n c h w"], eps: Float[Tensor, "n c h w"], t: Int[Tensor, ""]
    ) -> Float[Tensor, "n c h w"]:
        """(x_t - sqrt(1 - alphas_cumprod_t) eps) / sqrt(alphas_cumprod_t) (Ho et al., eq. 15)."""
        alpha = self._alphas_cumprod[int(t)].to(x_t)
        return ((x_t - (1 - alpha).sqrt() * eps) / alpha.sqrt()).clamp(-self._x0_limit, self._x0_limit)

    def posterior_std(self, t: Int[Tensor, ""], earlier: Int[Tensor, ""] | None) -> float:
        """Root of beta-tilde_t = (1 - abar_s) / (1 - abar_t) (1 - abar_t / abar_s), s the earlier one (Ho et al., eq. 7)."""
        if earlier is None:
            return 0.0
        abar_t, abar_s = (self._alphas_cumprod[int(step)].item() for step in (t, earlier))
        return math.sqrt((1 - abar_s) / (1 - abar_t) * (1 - abar_t / abar_s))

    def denoise(
        self,
        x_t: Float[Tensor, "n c h w"],
        t: Int[Tensor, ""],
        class_labels: Int[Tensor, " n"],
        cfg_scale: float,
        tap: int | None,
    ) -> Denoised:
        eps, features = self._conditional(x_t, t, class_labels, tap)
        if cfg_scale > 1:
            null = torch.full_like(class_labels, self.null_label)
            with torch.no_grad():
                unconditional = self._eps(x_t, t, null)
            eps = unconditional + cfg_scale * (eps - unconditional)
        return Denoised(eps, features)

    def features(
        self, x_t: Float[Tensor, "n c h w"], t: Int[Tensor, ""], class_labels: Int[Tensor, " n"], tap: int
    ) -> Float[Tensor, "n d"]:
        hidden = self._transformer.pos_embed(x_t)
        for block in self._transformer.transformer_blocks[:tap]:
            hidden = block(hidden, timestep=t.expand(len(x_t)), class_labels=class_labels)
        return hidden.flatten(1)

    def _conditional(self, x_t: Tensor, t: Tensor, class_labels: Tensor, tap: int | None) -> tuple[Tensor, Tensor | None]:
        if tap is None:
            return self._eps(x_t, t, class_labels), None
        tapped: list[Tensor] = []

        def keep_and_cut(_module: torch.nn.Module, _inputs: object, output: Tensor) -> Tensor:
            tapped.append(output)
            return output.detach()

        hook = self._transformer.transformer_blocks[tap - 1].register_forward_hook(keep_and_cut)
        try:
            eps = self._eps(x_t, t, class_labels)
        finally:
            hook.remove()
        return eps, tapped[0].flatten(1)

    def _eps(self, x_t: Tensor, t: Tensor, class_labels: Tensor) -> Tensor:
        prediction = self._transformer(x_t, timestep=t.expand(len(x_t)), class_labels=class_labels).sample
        return prediction[:, : self.latent_shape[0]]


def _read(kind: type[Model], path: Path) -> Model:
    """The model at `path`. Raises ValueError for one that lacks weights: diffusers would make them up."""
    model, told = kind.from_pretrained(path, use_safetensors=True, low_cpu_mem_usage=False, output_loading_info=True)
    if told["missing_keys"]:
        raise ValueError(f"{path} has no weights for {', '.join(told['missing_keys'][:3])}")
    return model
