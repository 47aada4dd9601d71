"""Backbones of a few thousand random weights, and short ways to say what to do with them."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, DiTTransformer2DModel
from torch import Tensor

from app.domain.backbone import BackboneInfo, Family
from app.domain.labels import Labels
from app.domain.spec.job_spec import DistillationSpec
from app.domain.spec.sampling import Sampling, Scheduler
from worker.backbones.base import Backbone, Conditions, timestep_zero
from worker.backbones.dit import DiTBackbone
from worker.guidance.guidance import GuidanceTerm, guidance_for
from worker.references.base import ReferenceReport, TapPoint, Target
from worker.references.selection import noise
from worker.references.thumbnails import thumbnails
from worker.sampling.loop import sample
from worker.sampling.tapped_pass import features_of
from worker.seeds import generator
from worker.stages.job_plans import tap_point

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


def info(model: DiTTransformer2DModel, vae: AutoencoderKL | None = None) -> BackboneInfo:
    """The facts of a model whose classes are named by their labels."""
    config = model.config
    labels = {str(label): label for label in range(config.num_embeds_ada_norm)}
    return BackboneInfo(
        name="tiny",
        family=Family.DIT,
        block_names=tuple(f"transformer_blocks.{number}" for number in range(config.num_layers)),
        image_size=config.sample_size * (1 if vae is None else 2),
        channels=config.in_channels if vae is None else vae.config.out_channels,
        labels=Labels((labels.items(),)),
        label_count=config.num_embeds_ada_norm,
        learned_variance=config.out_channels == 2 * config.in_channels,
    )


def backbone(
    *,
    model: DiTTransformer2DModel | None = None,
    vae: AutoencoderKL | None = None,
    schedule: Mapping[str, Any] = COSINE,
    **shape: Any,
) -> DiTBackbone:
    """A backbone whose classes are named by their labels."""
    given = model or transformer(**shape)
    return DiTBackbone(info(given, vae), revision="0", transformer=given, vae=vae, scheduler_config=schedule)


def spec(**fields: Any) -> DistillationSpec:
    return DistillationSpec.model_validate({"dataset_uri": "sklearn://digits", "ipc": 2} | fields)


def generators(count: int, *, first: int = 0) -> list[torch.Generator]:
    return [generator("image", first + index) for index in range(count)]


class RealLatents:
    """Features of the given latents of a class, computed when they are asked for, in full precision."""

    def __init__(self, one: Backbone, tap: TapPoint, target: tuple[str, Conditions], latents: Tensor) -> None:
        self._one = one
        self._tap = tap
        self._class_name, self._conditions = target
        self._latents = latents

    @property
    def report(self) -> ReferenceReport:
        hidden = self._one.hidden(self._latents, timestep_zero(self._one), self._repeated, self._tap.block_numbers)
        return ReferenceReport(
            images=len(self._latents),
            references=len(self._latents),
            probed=0,
            widths=self._tap.feature_map.widths(hidden),
            bytes=0,
            projection_error_mean=None,
            projection_error_max=None,
        )

    @property
    def clean(self) -> Tensor:
        return features_of(self._one, self._latents, timestep_zero(self._one), self._repeated, self._tap)

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
    ipc, tap = wanted.ipc, tap_point(wanted, one)
    made = []
    for i, label in enumerate(classes):
        conditions = one.conditions([label])
        made.append(
            Target(
                class_name=str(label),
                conditions=conditions,
                rows=slice(i * ipc, (i + 1) * ipc),
                reference=RealLatents(one, tap, (str(label), conditions), references[label]),
                modes=references[label][torch.arange(ipc) % len(references[label])],
            )
        )
    return made


def asked_guidance(one: Backbone, wanted: DistillationSpec, aims: Sequence[Target]) -> GuidanceTerm | None:
    """The guidance that the spec asks for, if it asks for any."""
    return guidance_for(wanted.guidance, wanted.kernel_choice, tap_point(wanted, one), one, aims)


def guidance(one: Backbone, wanted: DistillationSpec, aims: Sequence[Target]) -> GuidanceTerm:
    made = asked_guidance(one, wanted, aims)
    if made is None:
        raise ValueError("the spec asks for no guidance")
    return made


def unguided(one: Backbone, conditions: Conditions, sampling: Sampling) -> Tensor:
    """Latents of one image per condition, each with a generator of its own."""
    return sample(one, conditions, generators(len(conditions)), sampling).latents
