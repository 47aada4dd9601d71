"""Class-conditional DiT in the folder format of diffusers, with or without a VAE (Peebles and Xie,
arXiv 2212.09748).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from diffusers import AutoencoderKL, DiTTransformer2DModel
from torch import Tensor

from app.backbones.folder import BackboneFolder
from app.domain.backbone import BackboneInfo
from app.domain.class_conditioning import Condition
from worker.backbones.base import Conditions
from worker.backbones.diffusion import DiffusionBackbone
from worker.backbones.loading import Reader
from worker.backbones.schedules import VariancePreserving
from worker.backbones.vae import Autoencoder


class DiTBackbone(DiffusionBackbone):
    """DiTTransformer2DModel with class labels. Without a VAE its latents are the pixels.

    The null label is the last row of the label embedding. If the model has twice the channels, the
    second half is a learned variance.
    """

    def __init__(
        self,
        info: BackboneInfo,
        *,
        revision: str,
        transformer: DiTTransformer2DModel,
        vae: AutoencoderKL | None,
        scheduler_config: Mapping[str, Any],
    ) -> None:
        super().__init__(
            info,
            revision=revision,
            model=transformer,
            vae=None if vae is None else Autoencoder(vae),
            schedule=VariancePreserving(scheduler_config, learned_variance=info.learned_variance, latents=vae is not None),
        )

    @classmethod
    def load(cls, folder: BackboneFolder, device: torch.device, *, dtype: torch.dtype = torch.float32) -> Self:
        """The model in `folder`, from safetensors only.

        Raises BackboneUnavailable or BackboneRejected naming the folder.
        """
        reader = Reader(folder, device, dtype)
        transformer = reader.model(DiTTransformer2DModel, "transformer")
        vae = reader.autoencoder() if reader.has("vae") else None
        config = reader.scheduler_config()
        with reader.reading("scheduler"):
            return cls(folder.info, revision=folder.revision(), transformer=transformer, vae=vae, scheduler_config=config)

    def conditions(self, given: Sequence[Condition], negative: str | None = None) -> Conditions:
        labels = torch.tensor(given, device=self.device, dtype=torch.long)
        return Conditions((labels,), (torch.full_like(labels, self.info.label_count),))

    def _predict(self, x_t: Tensor, t: Tensor, conditions: tuple[Tensor, ...]) -> Tensor:
        return self._model(x_t, timestep=t, class_labels=conditions[0]).sample

    def _hidden(self, output: Tensor) -> Tensor:
        return output
