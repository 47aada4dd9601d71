"""Stable Diffusion of a few thousand random weights, with a vocabulary of a few words, in parts or as folders."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from app.domain.backbone import BackboneInfo, Family
from tests.unit.worker.tiny import randomised
from worker.backbones.stable_diffusion import StableDiffusionBackbone
from worker.backbones.stable_diffusion_3 import StableDiffusion3Backbone, TextEncoder

WORDS = ("a", "photo", "of", "cat", "dog", "blurry")
LENGTH = 8  # tokens of a prompt
SD_SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "steps_offset": 1,
    "clip_sample": False,
}
FLOW_SCHEDULE = {"num_train_timesteps": 1000, "shift": 3.0}


def tokenizer() -> CLIPTokenizer:
    """Byte pairs merged letter by letter into WORDS; any other word falls into letters."""
    merges: Any = list(dict.fromkeys(merge for word in WORDS for merge in _merges(word)))
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    merged = [first + second for first, second in merges]
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters), *merged]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


def _merges(word: str) -> list[tuple[str, str]]:
    pieces = [*word[:-1], word[-1] + "</w>"]
    return [("".join(pieces[:i]), pieces[i]) for i in range(1, len(pieces))]


def t5_tokenizer() -> T5Tokenizer:
    words = [(f"▁{word}", -2.0) for word in WORDS] + [("▁", -3.0)] + [(chr(code), -4.0) for code in range(97, 123)]
    return T5Tokenizer(vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *words], extra_ids=0, model_max_length=LENGTH)


def clip(*, projected: bool = False, seed: int = 0) -> Any:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer()),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        projection_dim=8,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return _built(lambda: (CLIPTextModelWithProjection if projected else CLIPTextModel)(config), seed)


def t5(seed: int = 0) -> Any:
    size = len(t5_tokenizer())
    config = T5Config(vocab_size=size, d_model=24, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    return _built(lambda: T5EncoderModel(config), seed)


def unet(seed: int = 0) -> UNet2DConditionModel:
    """Two down blocks, the first with attention, and a mid block; latents of 4 channels and 8 by 8."""

    def build() -> UNet2DConditionModel:
        return UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            attention_head_dim=4,
            cross_attention_dim=8,
        )

    return _built(build, seed)


def sd3_transformer(seed: int = 0) -> SD3Transformer2DModel:
    """Three blocks, the first with the second attention of version 3.5; latents of 4 channels and 8 by 8."""

    def build() -> SD3Transformer2DModel:
        return SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=3,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=24,
            caption_projection_dim=16,
            pooled_projection_dim=16,
            pos_embed_max_size=8,
            dual_attention_layers=(0,),
            qk_norm="rms_norm",
        )

    return _built(build, seed)


def autoencoder(*, shift_factor: float | None = None, seed: int = 0) -> AutoencoderKL:
    """A VAE with latents of 4 channels and half the side of colour images."""

    def build() -> AutoencoderKL:
        return AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=4,
            layers_per_block=1,
            sample_size=16,
            scaling_factor=0.5,
            shift_factor=shift_factor,
        )

    return _built(build, seed)


def info(family: Family, *block_names: str) -> BackboneInfo:
    return BackboneInfo(name="tiny", family=family, block_names=block_names, image_size=16, channels=3)


def stable_diffusion(*, dtype: torch.dtype = torch.float32, **schedule: Any) -> StableDiffusionBackbone:
    return StableDiffusionBackbone(
        info(Family.STABLE_DIFFUSION, "down_blocks.0", "down_blocks.1", "mid_block"),
        revision="0",
        unet=unet().to(dtype),
        vae=autoencoder(),
        text_encoder=clip().to(dtype),
        tokenizer=tokenizer(),
        scheduler_config=SD_SCHEDULE | schedule,
    )


def stable_diffusion_3(
    *, dtype: torch.dtype = torch.float32, with_t5: bool = True, **schedule: Any
) -> StableDiffusion3Backbone:
    first, second = (TextEncoder(clip(projected=True, seed=seed).to(dtype), tokenizer()) for seed in (0, 1))
    return StableDiffusion3Backbone(
        info(Family.STABLE_DIFFUSION_3, *(f"transformer_blocks.{number}" for number in range(3))),
        revision="0",
        transformer=sd3_transformer().to(dtype),
        vae=autoencoder(shift_factor=0.1),
        clips=(first, second),
        t5=TextEncoder(t5().to(dtype), t5_tokenizer()) if with_t5 else None,
        scheduler_config=FLOW_SCHEDULE | schedule,
    )


def save_stable_diffusion(folder: Path) -> None:
    """Those parts as diffusers' StableDiffusionPipeline writes them."""
    unet().save_pretrained(folder / "unet")
    autoencoder().save_pretrained(folder / "vae")
    clip().save_pretrained(folder / "text_encoder")
    tokenizer().save_pretrained(folder / "tokenizer")
    DDPMScheduler(**SD_SCHEDULE).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))


def save_stable_diffusion_3(folder: Path, *, with_t5: bool = True) -> None:
    """Those parts as diffusers' StableDiffusion3Pipeline writes them."""
    sd3_transformer().save_pretrained(folder / "transformer")
    autoencoder(shift_factor=0.1).save_pretrained(folder / "vae")
    for suffix, seed in (("", 0), ("_2", 1)):
        clip(projected=True, seed=seed).save_pretrained(folder / f"text_encoder{suffix}")
        tokenizer().save_pretrained(folder / f"tokenizer{suffix}")
    if with_t5:
        t5().save_pretrained(folder / "text_encoder_3")
        t5_tokenizer().save_pretrained(folder / "tokenizer_3")
    FlowMatchEulerDiscreteScheduler(**FLOW_SCHEDULE).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusion3Pipeline"}))


def _built(build: Callable[[], Any], seed: int) -> Any:
    """Random weights; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        model = build()
    return randomised(model, seed)
