"""The fields that Dapple reads in the configuration of a denoiser, a VAE or a text encoder.

Fields that would need another computation must have their neutral value.
"""

from typing import Annotated, Literal

from pydantic import Field

from app.backbones.config_fields import (
    MOST_STAGES,
    Absent,
    Channels,
    Config,
    Factor,
    Heads,
    HeadWidth,
    LabelCount,
    LatentChannels,
    Layers,
    PatchSize,
    Shift,
    Side,
    Vocabulary,
    Width,
)

Each = Annotated[list[Layers], Field(min_length=1, max_length=MOST_STAGES)]
EachHeads = Annotated[list[HeadWidth], Field(min_length=1, max_length=MOST_STAGES)]


class Denoiser(Config):
    sample_size: Side
    in_channels: LatentChannels
    out_channels: LatentChannels | None = None


class Transformer(Denoiser):
    num_layers: Layers
    num_attention_heads: Heads = 1
    attention_head_dim: HeadWidth = 1
    patch_size: PatchSize = 2


class DiT(Transformer):
    """DiTTransformer2DModel, also under its earlier name Transformer2DModel."""

    class_name: Literal["DiTTransformer2DModel", "Transformer2DModel"] | None = Field(default=None, alias="_class_name")
    num_embeds_ada_norm: LabelCount
    norm_type: Literal["ada_norm_zero"] = "ada_norm_zero"
    cross_attention_dim: Absent = None
    caption_channels: Absent = None
    num_vector_embeds: Absent = None
    addition_embed_type: Absent = None


class SD3(Transformer):
    class_name: Literal["SD3Transformer2DModel"] | None = Field(default=None, alias="_class_name")
    pos_embed_max_size: Annotated[int, Field(ge=1, le=512)] | None = None
    joint_attention_dim: Width | None = None
    pooled_projection_dim: Width | None = None
    caption_projection_dim: Width | None = None
    dual_attention_layers: Annotated[list[Annotated[int, Field(ge=0, lt=256)]], Field(max_length=256)] = Field(default=[])
    addition_embed_type: Absent = None


class UNet(Denoiser):
    class_name: Literal["UNet2DConditionModel"] | None = Field(default=None, alias="_class_name")
    down_block_types: list[str] = Field(min_length=1, max_length=MOST_STAGES)
    block_out_channels: list[Channels] = Field(default=[], max_length=MOST_STAGES)
    layers_per_block: Layers | Each = 2
    attention_head_dim: HeadWidth | EachHeads = 8
    num_attention_heads: Heads | EachHeads | None = None
    norm_num_groups: Channels | None = 32
    mid_block_type: str | None = "UNetMidBlock2DCrossAttn"
    cross_attention_dim: Width
    attention_type: Literal["default"] = "default"
    class_embed_type: Absent = None
    num_class_embeds: Absent = None
    addition_embed_type: Absent = None
    encoder_hid_dim: Absent = None
    encoder_hid_dim_type: Absent = None
    time_cond_proj_dim: Absent = None


class Vae(Config):
    class_name: Literal["AutoencoderKL"] | None = Field(default=None, alias="_class_name")
    block_out_channels: list[Channels] = Field(min_length=1, max_length=8)
    down_block_types: list[Literal["DownEncoderBlock2D"]] | None = None
    layers_per_block: Layers = 1
    latent_channels: LatentChannels = 4
    in_channels: Literal[1, 3] = 3
    out_channels: Literal[1, 3] = 3
    scaling_factor: Factor = 0.18215
    shift_factor: Shift | None = None
    latents_mean: Absent = None
    latents_std: Absent = None


class TextEncoder(Config):
    """The configuration of CLIP, or of T5, whose fields have other names."""

    model_type: Literal["clip_text_model", "clip", "t5"] | None = None
    vocab_size: Vocabulary | None = None
    hidden_size: Width | None = None
    d_model: Width | None = None
    intermediate_size: Width | None = None
    d_ff: Width | None = None
    d_kv: HeadWidth | None = None
    projection_dim: Width | None = None
    num_hidden_layers: Layers | None = None
    num_layers: Layers | None = None
    num_attention_heads: Heads | None = None
    num_heads: Heads | None = None
    max_position_embeddings: Annotated[int, Field(ge=1, le=65_536)] | None = None

    @property
    def width(self) -> int | None:
        """The width of its hidden states."""
        return self.d_model or self.hidden_size
