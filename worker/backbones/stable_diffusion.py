"""Stable Diffusion 1 and 2 in diffusers' folder format (Rombach et al., arXiv 2112.10752)."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from app.domain.taps import MID
from app.storage.backbones import BackboneFolder
from worker.backbones.autoencoder import Autoencoder
from worker.backbones.prompted import PromptedBackbone, excess
from worker.backbones.reading import Reader
from worker.backbones.schedules import VariancePreserving

# StableDiffusionPipeline sets these whatever the folder says, for schedules that were published with others.
SCHEDULE = {"steps_offset": 1, "clip_sample": False}


class StableDiffusionBackbone(PromptedBackbone):
    """UNet2DConditionModel under CLIP's text encoder; it predicts noise or v. Each place of a hidden map is one token."""

    _skips = True

    def __init__(
        self,
        *,
        name: str,
        revision: str,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        scheduler_config: Mapping[str, Any],
    ) -> None:
        super().__init__(
            name=name,
            revision=revision,
            model=unet,
            vae=Autoencoder(vae),
            schedule=VariancePreserving({**scheduler_config, **SCHEDULE}),
            blocks=_blocks(unet),
        )
        self._text_encoder = text_encoder.requires_grad_(False).eval()
        self._prompts = _prompt_encoder(text_encoder, tokenizer)

    @classmethod
    def load(cls, folder: BackboneFolder, device: torch.device, *, dtype: torch.dtype = torch.float32) -> Self:
        """The model in `folder`, safetensors only. Raises BackboneUnavailable naming the folder."""
        reader = Reader(folder, device, dtype)
        unet = reader.model(UNet2DConditionModel, "unet")
        text_encoder = reader.text_encoder(CLIPTextModel, "text_encoder")
        parts = {
            "unet": unet,
            "vae": reader.autoencoder(),
            "text_encoder": text_encoder,
            "tokenizer": reader.tokenizer(CLIPTokenizer, "tokenizer", text_encoder),
            "scheduler_config": reader.scheduler_config(),
        }
        with reader.reading("scheduler"):
            return cls(name=folder.name, revision=folder.revision(), **parts)

    def _to_compile(self) -> tuple[torch.nn.Module, ...]:
        return (*super()._to_compile(), *self._model.up_blocks)

    def _parts(self) -> tuple[torch.nn.Module, ...]:
        return (*super()._parts(), self._text_encoder)

    def _excess(self, prompt: str) -> int:
        return excess(self._prompts.tokenizer, prompt, self._prompts.tokenizer.model_max_length)

    def _encode(self, prompts: list[str]) -> tuple[Tensor, ...]:
        return (self._prompts.encode_prompt(prompts, self.device, 1, do_classifier_free_guidance=False)[0],)

    def _predict(self, x_t: Tensor, t: Tensor, conditions: tuple[Tensor, ...]) -> Tensor:
        return self._model(x_t, t, encoder_hidden_states=conditions[0]).sample

    def _hidden(self, output: Tensor | tuple[Tensor, Any]) -> Tensor:
        """A down block returns the map it hands on, and those that skip to the way up."""
        handed_on = output[0] if isinstance(output, tuple) else output
        return handed_on.flatten(2).transpose(1, 2)


def _blocks(unet: UNet2DConditionModel) -> dict[str, torch.nn.Module]:
    down = {f"down_blocks.{i}": block for i, block in enumerate(unet.down_blocks)}
    return down if unet.mid_block is None else {**down, MID: unet.mid_block}


def _prompt_encoder(text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer) -> Any:
    """The part of diffusers' pipeline that encodes prompts."""
    from diffusers import StableDiffusionPipeline  # says at its import that there is no torchvision, which nothing here needs

    return StableDiffusionPipeline(
        vae=None,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=None,
        scheduler=None,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
