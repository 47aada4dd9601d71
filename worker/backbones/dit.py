"""Class-conditional DiT in diffusers' folder format, with or without a VAE (Peebles and Xie, arXiv 2212.09748)."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from diffusers import AutoencoderKL, DiTTransformer2DModel
from torch import Tensor

from app.domain.conditions import Condition
from app.domain.labels import Labels
from app.storage.backbones import BackboneFolder
from worker.backbones.autoencoder import Autoencoder
from worker.backbones.base import Conditions
from worker.backbones.diffusion import DiffusionBackbone
from worker.backbones.reading import Reader
from worker.backbones.schedules import VariancePreserving


class DiTBackbone(DiffusionBackbone):
    """DiTTransformer2DModel with class labels; without a VAE its latents are the pixels.

    The null label is the last row of the label embedding. Twice the channels are the noise and a learned variance.
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
        wordnet: bool = False,
    ) -> None:
        config = transformer.config
        self.labels: Mapping[str, int] = Labels.of(labels)
        self.wordnet = wordnet
        self.label_count: int = config.num_embeds_ada_norm
        self.learned_variance = config.out_channels == 2 * config.in_channels
        super().__init__(
            name=name,
            revision=revision,
            model=transformer,
            vae=None if vae is None else Autoencoder(vae),
            schedule=VariancePreserving(scheduler_config, learned_variance=self.learned_variance, latents=vae is not None),
            blocks={f"transformer_blocks.{i}": block for i, block in enumerate(transformer.transformer_blocks)},
        )

    @classmethod
    def load(cls, folder: BackboneFolder, device: torch.device, *, dtype: torch.dtype = torch.float32) -> Self:
        """The model in `folder`, safetensors only. Raises BackboneUnavailable naming the folder."""
        reader = Reader(folder, device, dtype)
        transformer = reader.model(DiTTransformer2DModel, "transformer")
        parts = {
            "transformer": transformer,
            "vae": reader.autoencoder() if reader.has("vae") else None,
            "scheduler_config": reader.scheduler_config(),
        }
        with reader.reading("scheduler"):
            return cls(name=folder.name, revision=folder.revision(), labels=folder.labels, wordnet=folder.wordnet, **parts)

    def conditions(self, given: Sequence[Condition], negative: str | None = None) -> Conditions:
        labels = torch.tensor(given, device=self.device, dtype=torch.long)
        return Conditions((labels,), (torch.full_like(labels, self.label_count),))

    def _predict(self, x_t: Tensor, t: Tensor, conditions: tuple[Tensor, ...]) -> Tensor:
        return self._model(x_t, timestep=t, class_labels=conditions[0]).sample

    def _hidden(self, output: Tensor) -> Tensor:
        return output
