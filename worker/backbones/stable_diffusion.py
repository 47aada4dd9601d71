"""Stable Diffusion 1 and 2 in the folder format of diffusers (Rombach et al., arXiv 2112.10752)."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from app.backbones.folder import BackboneFolder
from app.domain.backbone import BackboneInfo
from worker.backbones.classifier_free_guidance import both_halves
from worker.backbones.loading import Reader
from worker.backbones.prompted import PromptedBackbone, excess
from worker.backbones.schedules import VariancePreserving
from worker.backbones.vae import Autoencoder

# StableDiffusionPipeline sets these whatever the folder says, for schedules that were published
# with other values.
SCHEDULE = {"steps_offset": 1, "clip_sample": False}


class StableDiffusionBackbone(PromptedBackbone):
    """UNet2DConditionModel with the text encoder of CLIP.

    It predicts noise or v. Each place of a hidden map is a token.
    """

    def __init__(
        self,
        info: BackboneInfo,
        *,
        revision: str,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        scheduler_config: Mapping[str, Any],
    ) -> None:
        super().__init__(
            info,
            revision=revision,
            model=unet,
            vae=Autoencoder(vae),
            schedule=VariancePreserving({**scheduler_config, **SCHEDULE}),
        )
        self._text_encoder = text_encoder.requires_grad_(False).eval()
        self._prompts = _prompt_encoder(text_encoder, tokenizer)

    @classmethod
    def load(cls, folder: BackboneFolder, device: torch.device, *, dtype: torch.dtype = torch.float32) -> Self:
        """The model in `folder`, from safetensors only.

        Raises BackboneUnavailable or BackboneRejected naming the folder.
        """
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
            return cls(folder.info, revision=folder.revision(), **parts)

    def _blocks_to_record(self, block_numbers: Sequence[int]) -> Sequence[torch.nn.Module]:
        return self._blocks[: max(block_numbers, default=0)]

    def _outputs_to_resume(self, given: Sequence[Any], null: Sequence[Any], count: int) -> Sequence[Any]:
        return list(map(both_halves, given, null))

    def _tapped_outputs(self, outputs: Sequence[Any], block_numbers: Sequence[int]) -> Sequence[Any]:
        return [outputs[number - 1] for number in block_numbers]

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
        """A down block returns its map together with those of its skip connections."""
        hidden_map = output[0] if isinstance(output, tuple) else output
        return hidden_map.flatten(2).transpose(1, 2)


def _prompt_encoder(text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer) -> Any:
    """The part of the diffusers pipeline that encodes prompts."""
    from diffusers import StableDiffusionPipeline  # its import warns that torchvision is missing

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
