"""Backbones of a few thousand random weights, and short ways to say what to do with them."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, DiTTransformer2DModel
from torch import Tensor

from app.domain.spec import DistillationSpec, Sampling, Scheduler
from worker.backbones.base import Backbone, Conditions
from worker.backbones.dit import DiTBackbone
from worker.guidance.reference import noise
from worker.sampling.denoise import features_of
from worker.sampling.direction import Target
from worker.sampling.guide import Guide, guide_for, tap_of
from worker.sampling.sampler import sample
from worker.sampling.thumbnails import thumbnails
from worker.seeds import generator

Model = TypeVar("Model", bound=torch.nn.Module)

COSINE = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "epsilon", "clip_sample": True}
NOISE_SCHEDULERS = (Scheduler.DDPM, Scheduler.DDIM, Scheduler.DPM_SOLVER_PP)
LINEAR = {"num_train_timesteps": 1000, "beta_schedule": "linear", "beta_end": 0.004, "clip_sample": False}


def transformer(
    *, size: int = 8, channels: int = 1, out_channels: int | None = None, classes: int = 10, blocks: int = 3, seed: int = 0
) -> DiTTransformer2DModel:
    """A DiT of width 16 with random weights; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        model = DiTTransformer2DModel(
            num_attention_heads=2,
            attention_head_dim=8,
            in_channels=channels,
            out_channels=out_channels,
            num_layers=blocks,
            sample_size=size,
            patch_size=2,
            num_embeds_ada_norm=classes,
        )
    return randomised(model, seed)


def autoencoder(*, latent_channels: int = 2, seed: int = 0) -> AutoencoderKL:
    """A VAE that halves the side of colour images."""
    with torch.random.fork_rng(devices=[]):
        vae = AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=latent_channels,
            norm_num_groups=4,
            layers_per_block=1,
            sample_size=16,
            scaling_factor=0.18215,
        )
    return randomised(vae, seed)


def randomised(model: Model, seed: int) -> Model:
    """The model with every weight drawn from N(0, 0.1^2): no part of it is switched off, as fresh weights partly are."""
    g = generator("tiny", seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=g) * 0.1)
    return model.eval()


def backbone(
    *,
    model: DiTTransformer2DModel | None = None,
    vae: AutoencoderKL | None = None,
    schedule: Mapping[str, Any] = COSINE,
    **shape: Any,
) -> DiTBackbone:
    """A backbone whose classes are named by their labels."""
    given = model or transformer(**shape)
    labels = {str(label): label for label in range(given.config.num_embeds_ada_norm)}
    return DiTBackbone(name="tiny", revision="0", transformer=given, vae=vae, scheduler_config=schedule, labels=labels)


def spec(**fields: Any) -> DistillationSpec:
    return DistillationSpec.model_validate({"dataset_uri": "sklearn://digits", "ipc": 2} | fields)


def generators(count: int, *, first: int = 0) -> list[torch.Generator]:
    return [generator("image", first + index) for index in range(count)]


class RealLatents:
    """Features of the given latents of a class, computed when they are asked for, in full precision."""

    def __init__(self, one: Backbone, wanted: DistillationSpec, target: tuple[str, Conditions], latents: Tensor) -> None:
        self._one = one
        self._tap = tap_of(wanted, one)
        self._class_name, self._conditions = target
        self._latents = latents

    @property
    def widths(self) -> tuple[int, ...]:
        t = torch.zeros((), dtype=torch.int64)
        return self._tap.features.widths(self._one.hidden(self._latents, t, self._repeated, self._tap.blocks))

    @property
    def about(self) -> dict[str, Any]:
        return {"images": len(self._latents)}

    @property
    def clean(self) -> Tensor:
        return features_of(self._one, self._latents, torch.zeros((), dtype=torch.int64), self._repeated, self._tap)

    @property
    def thumbnails(self) -> Tensor:
        return thumbnails(self._latents)

    def at(self, t: Tensor) -> Tensor:
        eps = noise(self._latents.shape, self._class_name, t.item()).to(self._latents)
        return features_of(self._one, self._one.add_noise(self._latents, eps, t), t, self._repeated, self._tap)

    def probe_at(self, t: Tensor) -> Tensor | None:
        return None

    @property
    def _repeated(self) -> Conditions:
        return self._conditions.repeat(len(self._latents))


def targets(one: Backbone, wanted: DistillationSpec, classes: Sequence[int], references: Mapping[int, Tensor]) -> list[Target]:
    """One target per class in rows of IPC, whose modes are its first references."""
    ipc = wanted.ipc
    made = []
    for i, label in enumerate(classes):
        conditions = one.conditions([label])
        made.append(
            Target(
                class_name=str(label),
                conditions=conditions,
                rows=slice(i * ipc, (i + 1) * ipc),
                reference=RealLatents(one, wanted, (str(label), conditions), references[label]),
                modes=references[label][torch.arange(ipc) % len(references[label])],
            )
        )
    return made


def guide(one: Backbone, wanted: DistillationSpec, aims: Sequence[Target]) -> Guide:
    made = guide_for(one, wanted, aims)
    if made is None:
        raise ValueError("the spec asks for no guidance")
    return made


def unguided(one: Backbone, conditions: Conditions, sampling: Sampling) -> Tensor:
    """Latents of one image per condition, each with a generator of its own."""
    return sample(one, conditions, generators(len(conditions)), sampling).latents
