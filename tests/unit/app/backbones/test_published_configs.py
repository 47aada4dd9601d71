"""Configurations as published models have them; weights that are none."""

from pathlib import Path
from typing import Any

import pytest

from app.backbones.folder import BackboneFolder
from app.backbones.pipelines import read
from tests.unit.app.stored import write_component, write_json

CLIP_L: dict[str, Any] = {
    "architectures": ["CLIPTextModel"],
    "bos_token_id": 0,
    "eos_token_id": 2,
    "hidden_act": "quick_gelu",
    "hidden_size": 768,
    "initializer_factor": 1.0,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 77,
    "model_type": "clip_text_model",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "projection_dim": 768,
    "torch_dtype": "float32",
    "vocab_size": 49408,
}
CLIP_H = CLIP_L | {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 23}
CLIP_G = CLIP_L | {"hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 20, "projection_dim": 1280}
T5 = {"model_type": "t5", "d_ff": 10240, "d_kv": 64, "d_model": 4096, "num_heads": 64, "num_layers": 24, "vocab_size": 32128}
VAE: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 512,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
VAE_16 = VAE | {
    "latent_channels": 16,
    "latents_mean": None,
    "latents_std": None,
    "scaling_factor": 1.5305,
    "shift_factor": 0.0609,
    "use_quant_conv": False,
}
UNET: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "center_input_sample": False,
    "cross_attention_dim": 768,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 64,
}
UNET_21 = UNET | {
    "attention_head_dim": [5, 10, 20, 20],
    "cross_attention_dim": 1024,
    "dual_cross_attention": False,
    "num_class_embeds": None,
    "only_cross_attention": False,
    "sample_size": 96,
    "upcast_attention": True,
    "use_linear_projection": True,
}
SD3: dict[str, Any] = {
    "_class_name": "SD3Transformer2DModel",
    "attention_head_dim": 64,
    "caption_projection_dim": 1536,
    "in_channels": 16,
    "joint_attention_dim": 4096,
    "num_attention_heads": 24,
    "num_layers": 24,
    "out_channels": 16,
    "patch_size": 2,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
    "sample_size": 128,
}
DIT: dict[str, Any] = {
    "_class_name": "Transformer2DModel",
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
    "attention_head_dim": 72,
    "cross_attention_dim": None,
    "in_channels": 4,
    "norm_elementwise_affine": False,
    "norm_type": "ada_norm_zero",
    "num_attention_heads": 16,
    "num_embeds_ada_norm": 1000,
    "num_layers": 28,
    "num_vector_embeds": None,
    "out_channels": 8,
    "patch_size": 2,
    "sample_size": 32,
}
PNDM: dict[str, Any] = {
    "_class_name": "PNDMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}


def write(
    folder: Path, pipeline: str, parts: dict[str, dict[str, Any]], scheduler: dict[str, Any], **index: Any
) -> BackboneFolder:
    """The folder, read."""
    write_json(folder / "model_index.json", _class_name=pipeline, _diffusers_version="0.6.0", **index)
    write_json(folder / "scheduler" / "scheduler_config.json", **scheduler)
    for part, config in parts.items():
        is_text = part.startswith("text_encoder")
        write_component(folder / part, weights="model" if is_text else "diffusion_pytorch_model", **config)
        if is_text:
            write_json(folder / part.replace("text_encoder", "tokenizer") / "tokenizer.json")
    return read("m", folder)


def test_stable_diffusion_1_5_is_read(tmp_path: Path) -> None:
    parts = {"unet": UNET, "vae": VAE, "text_encoder": CLIP_L}
    safety = {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"], "requires_safety_checker": True}
    found = write(tmp_path, "StableDiffusionPipeline", parts, PNDM, **safety)
    assert (found.info.image_size, found.info.block_names[-1]) == (512, "mid_block")


def test_stable_diffusion_2_1_is_read(tmp_path: Path) -> None:
    parts = {"unet": UNET_21, "vae": VAE, "text_encoder": CLIP_H}
    schedule = PNDM | {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"}
    assert write(tmp_path, "StableDiffusionPipeline", parts, schedule).info.image_size == 768


@pytest.mark.parametrize("third", [True, False])
def test_stable_diffusion_3_is_read(tmp_path: Path, third: bool) -> None:
    parts: dict[str, dict[str, Any]] = {"transformer": SD3, "vae": VAE_16, "text_encoder": CLIP_L, "text_encoder_2": CLIP_G}
    parts |= {"text_encoder_3": T5} if third else {}
    schedule = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}
    found = write(tmp_path, "StableDiffusion3Pipeline", parts, schedule)
    assert (found.info.image_size, len(found.info.block_names)) == (1024, 24)


@pytest.mark.parametrize("size", [32, 64])
def test_dit_is_read(tmp_path: Path, size: int) -> None:
    schedule = {"_class_name": "DDIMScheduler", "beta_end": 0.02, "beta_schedule": "linear", "clip_sample": False}
    parts = {"transformer": DIT | {"sample_size": size}, "vae": VAE}
    found = write(tmp_path, "DiTPipeline", parts, schedule, vae=["diffusers", "AutoencoderKL"])
    assert (found.info.image_size, found.info.learned_variance, found.info.wordnet, found.info.labels.shown[0]) == (
        8 * size,
        True,
        True,
        "tench",
    )
