"""Stable Diffusion 3 in the folder format of diffusers (Esser et al., arXiv 2403.03206)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5Tokenizer

from app.backbones.folder import BackboneFolder
from app.domain.backbone import BackboneInfo
from worker.backbones.loading import Reader
from worker.backbones.prompted import PromptedBackbone, excess
from worker.backbones.schedules import FlowMatching
from worker.backbones.vae import Autoencoder

T5_TOKENS = 256  # the limit that the diffusers pipeline sets for T5


@dataclass(frozen=True)
class TextEncoder:
    """A text encoder from transformers, and its tokenizer."""

    model: Any
    tokenizer: Any


class StableDiffusion3Backbone(PromptedBackbone):
    """SD3Transformer2DModel, which learned flow matching, with two CLIP text encoders and
    optionally T5.

    A tap reads the stream of the image, not that of the text. Without T5 its tokens are zero, as in
    an ablation of the authors.
    """

    def __init__(
        self,
        info: BackboneInfo,
        *,
        revision: str,
        transformer: SD3Transformer2DModel,
        vae: AutoencoderKL,
        clips: tuple[TextEncoder, TextEncoder],
        t5: TextEncoder | None,
        scheduler_config: Mapping[str, Any],
    ) -> None:
        config = transformer.config
        super().__init__(
            info,
            revision=revision,
            model=transformer,
            vae=Autoencoder(vae),
            schedule=FlowMatching(scheduler_config, tokens=(config.sample_size // config.patch_size) ** 2),
        )
        self._text_encoders = [each.model.requires_grad_(False).eval() for each in (*clips, t5) if each]
        self._prompts = _prompt_encoder(transformer, clips, t5)

    @classmethod
    def load(cls, folder: BackboneFolder, device: torch.device, *, dtype: torch.dtype = torch.float32) -> Self:
        """The model in `folder`, from safetensors only.

        Raises BackboneUnavailable or BackboneRejected naming the folder.
        """
        reader = Reader(folder, device, dtype)
        transformer = reader.model(SD3Transformer2DModel, "transformer")
        parts = {
            "transformer": transformer,
            "vae": reader.autoencoder(),
            "clips": (_clip(reader, ""), _clip(reader, "_2")),
            "t5": _t5(reader) if reader.has("text_encoder_3") else None,
            "scheduler_config": reader.scheduler_config(),
        }
        with reader.reading("scheduler"):
            return cls(folder.info, revision=folder.revision(), **parts)

    def _parts(self) -> tuple[torch.nn.Module, ...]:
        return (*super()._parts(), *self._text_encoders)

    def _excess(self, prompt: str) -> int:
        clips = [(each, each.model_max_length) for each in (self._prompts.tokenizer, self._prompts.tokenizer_2)]
        t5 = [(self._prompts.tokenizer_3, T5_TOKENS)] if self._prompts.tokenizer_3 else []
        return min(excess(tokenizer, prompt, most) for tokenizer, most in [*clips, *t5])

    def _encode(self, prompts: list[str]) -> tuple[Tensor, ...]:
        tokens, _, pooled, _ = self._prompts.encode_prompt(
            prompts, None, None, device=self.device, do_classifier_free_guidance=False
        )
        return tokens, pooled

    def _predict(self, x_t: Tensor, t: Tensor, conditions: tuple[Tensor, ...]) -> Tensor:
        tokens, pooled = conditions
        return self._model(x_t, timestep=t, encoder_hidden_states=tokens, pooled_projections=pooled).sample

    def _hidden(self, output: tuple[Tensor | None, Tensor]) -> Tensor:
        return output[1]


def _clip(reader: Reader, suffix: str) -> TextEncoder:
    model = reader.text_encoder(CLIPTextModelWithProjection, f"text_encoder{suffix}")
    return TextEncoder(model, reader.tokenizer(CLIPTokenizer, f"tokenizer{suffix}", model))


def _t5(reader: Reader) -> TextEncoder:
    model = reader.text_encoder(T5EncoderModel, "text_encoder_3")
    return TextEncoder(model, reader.tokenizer(T5Tokenizer, "tokenizer_3", model))


def _prompt_encoder(transformer: SD3Transformer2DModel, clips: tuple[TextEncoder, TextEncoder], t5: TextEncoder | None) -> Any:
    """The part of the diffusers pipeline that encodes prompts."""
    from diffusers import StableDiffusion3Pipeline  # its import warns that torchvision is missing

    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=None,
        vae=None,
        text_encoder=clips[0].model,
        tokenizer=clips[0].tokenizer,
        text_encoder_2=clips[1].model,
        tokenizer_2=clips[1].tokenizer,
        text_encoder_3=t5.model if t5 else None,
        tokenizer_3=t5.tokenizer if t5 else None,
    )
