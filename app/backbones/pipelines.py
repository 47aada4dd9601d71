"""Read the facts of a model from diffusers' configuration files.

It knows DiTPipeline, StableDiffusionPipeline and StableDiffusion3Pipeline.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from app.backbones.folder import BackboneFolder
from app.backbones.model_configs import SD3, Denoiser, DiT, TextEncoder, Transformer, UNet, Vae
from app.backbones.noise_schedules import FlowSchedule, NoiseSchedule
from app.backbones.part_reader import CONFIG, INDEX_BYTES, PartReader
from app.domain.backbone import BackboneInfo, Family
from app.domain.imagenet import synsets
from app.domain.labels import Labels
from app.domain.spec.taps import MID

INDEX = "model_index.json"
SCHEDULER_CONFIG = "scheduler_config.json"
IMAGENET_LABELS = 1000
IMAGENET = ("tench", "toilet tissue")  # first and last name
MOST_TOKENS = 65_536  # of an image; the position embedding has a row for each
LARGEST_IMAGE = 4096
LABEL_LETTERS = 1000


class _Index(BaseModel):
    class_name: Literal["DiTPipeline", "StableDiffusionPipeline", "StableDiffusion3Pipeline"] = Field(alias="_class_name")
    vae: Any = None


class _Labels(BaseModel):
    id2label: dict[int, Annotated[str, Field(max_length=LABEL_LETTERS)]] | None = Field(default=None, min_length=1)


def read(name: str, path: Path) -> BackboneFolder:
    """The backbone in the folder `path`.

    Raises BackboneUnavailable that names a missing file, BackboneRejected that names file and
    field.
    """
    reader = PartReader(name, path)
    index = reader.config(INDEX, model=_Index, most_bytes=INDEX_BYTES)
    reader.pipeline = index.class_name
    if index.class_name == "DiTPipeline":
        return _dit(reader, has_vae=index.vae not in (None, [None, None]) or reader.has("vae"))
    return _stable_diffusion(reader) if index.class_name == "StableDiffusionPipeline" else _stable_diffusion_3(reader)


def _dit(reader: PartReader, *, has_vae: bool) -> BackboneFolder:
    """A class-conditional DiT with the labels of `id2label`; without a VAE it works on pixels."""
    config = reader.config("transformer", CONFIG, model=DiT)
    _check_tokens(reader, config)
    if config.out_channels not in (None, config.in_channels, 2 * config.in_channels):
        fault = (
            f"out_channels: it is {config.out_channels}, but noise takes {config.in_channels}, and with a variance twice that"
        )
        raise reader.refusal("transformer", CONFIG, fault=fault)
    _noise_schedule(reader)
    reader.weights("transformer")
    image_size, channels = _image_shape(reader, "transformer", config) if has_vae else _pixels(reader, config)
    labels, wordnet = _labels(reader, config.num_embeds_ada_norm)
    return BackboneFolder(
        info=BackboneInfo(
            name=reader.name,
            family=Family.DIT,
            block_names=tuple(_transformer_blocks(config)),
            labels=labels,
            label_count=config.num_embeds_ada_norm,
            wordnet=wordnet,
            learned_variance=config.out_channels == 2 * config.in_channels,
            image_size=image_size,
            channels=channels,
        ),
        path=reader.path,
        weights_bytes=reader.weights_bytes,
        files=reader.files,
    )


def _stable_diffusion(reader: PartReader) -> BackboneFolder:
    config = reader.config("unet", CONFIG, model=UNet)
    if config.out_channels not in (None, config.in_channels):
        fault = f"out_channels: it is {config.out_channels}, but the noise has the {config.in_channels} channels of the latents"
        raise reader.refusal("unet", CONFIG, fault=fault)
    _noise_schedule(reader)
    reader.weights("unet")
    encoder = _text_encoder(reader)
    if encoder.width not in (None, config.cross_attention_dim):
        fault = f"cross_attention_dim: it is {config.cross_attention_dim}, but the text encoder's hidden_size {encoder.width}"
        raise reader.refusal("unet", CONFIG, fault=fault)
    image_size, channels = _image_shape(reader, "unet", config)
    return BackboneFolder(
        info=BackboneInfo(
            name=reader.name,
            family=Family.STABLE_DIFFUSION,
            block_names=tuple(_down_and_mid_blocks(config)),
            image_size=image_size,
            channels=channels,
        ),
        path=reader.path,
        weights_bytes=reader.weights_bytes,
        files=reader.files,
    )


def _stable_diffusion_3(reader: PartReader) -> BackboneFolder:
    """Stable Diffusion 3. Its third text encoder is optional (Esser et al., arXiv 2403.03206)."""
    config = reader.config("transformer", CONFIG, model=SD3)
    _check_tokens(reader, config)
    _flow_schedule(reader)
    reader.weights("transformer")
    encoders = [_text_encoder(reader, suffix) for suffix in ("", "_2")]
    third = _text_encoder(reader, "_3") if reader.has("text_encoder_3") else None
    _check_widths(reader, config, encoders, third)
    image_size, channels = _image_shape(reader, "transformer", config)
    return BackboneFolder(
        info=BackboneInfo(
            name=reader.name,
            family=Family.STABLE_DIFFUSION_3,
            block_names=tuple(_transformer_blocks(config)),
            image_size=image_size,
            channels=channels,
        ),
        path=reader.path,
        weights_bytes=reader.weights_bytes,
        files=reader.files,
    )


def _text_encoder(reader: PartReader, suffix: str = "") -> TextEncoder:
    config = reader.config(f"text_encoder{suffix}", CONFIG, model=TextEncoder)
    reader.weights(f"text_encoder{suffix}")
    reader.tokenizer(f"tokenizer{suffix}")
    return config


def _check_widths(reader: PartReader, config: SD3, clips: list[TextEncoder], t5: TextEncoder | None) -> None:
    """Check that the transformer's inputs have the widths of the text encoders, if stated."""
    pooled = [clip.projection_dim for clip in clips]
    given = sum(width for width in pooled if width)
    if all(pooled) and config.pooled_projection_dim not in (None, given):
        fault = f"pooled_projection_dim: it is {config.pooled_projection_dim}, but the two text encoders' together are {given}"
        raise reader.refusal("transformer", CONFIG, fault=fault)
    if t5 is not None and t5.width is not None and config.joint_attention_dim not in (None, t5.width):
        fault = f"joint_attention_dim: it is {config.joint_attention_dim}, but the third text encoder's d_model {t5.width}"
        raise reader.refusal("transformer", CONFIG, fault=fault)


def _noise_schedule(reader: PartReader) -> None:
    if fault := reader.config("scheduler", SCHEDULER_CONFIG, model=NoiseSchedule).fault():
        raise reader.refusal("scheduler", SCHEDULER_CONFIG, fault=fault)


def _flow_schedule(reader: PartReader) -> None:
    if fault := reader.config("scheduler", SCHEDULER_CONFIG, model=FlowSchedule).fault():
        raise reader.refusal("scheduler", SCHEDULER_CONFIG, fault=fault)


def _check_tokens(reader: PartReader, config: Transformer) -> None:
    if config.sample_size % config.patch_size:
        fault = f"patch_size: {config.sample_size} of sample_size are not a multiple of {config.patch_size}"
        raise reader.refusal("transformer", CONFIG, fault=fault)
    if (tokens := (config.sample_size // config.patch_size) ** 2) > MOST_TOKENS:
        fault = f"sample_size: an image would be {tokens:,} tokens; {MOST_TOKENS:,} are the most"
        raise reader.refusal("transformer", CONFIG, fault=fault)


def _pixels(reader: PartReader, config: DiT) -> tuple[int, int]:
    """Image side in pixels and channels of a transformer that works on pixels."""
    if config.in_channels not in (1, 3):
        fault = f"in_channels: {config.in_channels} are those of latents, but there is no vae; pixels have 1 or 3"
        raise reader.refusal("transformer", CONFIG, fault=fault)
    return config.sample_size, config.in_channels


def _image_shape(reader: PartReader, denoiser: str, config: Denoiser) -> tuple[int, int]:
    """Image side in pixels and channels after the VAE has decoded the denoiser's latents."""
    vae = reader.config("vae", CONFIG, model=Vae)
    reader.weights("vae")
    if config.in_channels != vae.latent_channels:
        fault = f"in_channels: it takes {config.in_channels}, but the VAE's latents have {vae.latent_channels}"
        advice = "models for inpainting, editing or upscaling cannot be used"
        if config.in_channels == vae.in_channels:
            advice = f"if it works on pixels, remove vae, and set it to [null, null] in {INDEX}"
        raise reader.refusal(denoiser, CONFIG, fault=f"{fault}; {advice}")
    if vae.in_channels != vae.out_channels:
        fault = f"in_channels: it reads images of {vae.in_channels} channels, but makes them of {vae.out_channels}"
        raise reader.refusal("vae", CONFIG, fault=fault)
    if vae.down_block_types is not None and len(vae.down_block_types) != len(vae.block_out_channels):
        fault = f"down_block_types: there are {len(vae.down_block_types)}, but {len(vae.block_out_channels)} block_out_channels"
        raise reader.refusal("vae", CONFIG, fault=fault)
    side = config.sample_size * 2 ** (len(vae.block_out_channels) - 1)
    if side > LARGEST_IMAGE:
        fault = f"sample_size: images would have {side} pixels a side; {LARGEST_IMAGE} are the most"
        raise reader.refusal(denoiser, CONFIG, fault=fault)
    return side, vae.out_channels


def _labels(reader: PartReader, label_count: int) -> tuple[Labels, bool]:
    """The names of the labels, and whether they are ImageNet-1K's.

    A thousand labels without names count as ImageNet-1K's.
    """
    texts = reader.config(INDEX, model=_Labels, most_bytes=INDEX_BYTES).id2label
    if texts is None:
        is_imagenet = label_count == IMAGENET_LABELS
        return Labels.of_texts([synset.words for synset in synsets().values()] if is_imagenet else []), is_imagenet
    if sorted(texts) != list(range(len(texts))) or len(texts) > label_count:
        raise reader.refusal(INDEX, fault=f"id2label must name the labels 0, 1, …, at most {label_count} of them")
    first, last = (texts[label].split(",")[0].strip() for label in (0, len(texts) - 1))
    wordnet = (len(texts), first, last) == (IMAGENET_LABELS, *IMAGENET)
    return Labels.of_texts([texts[label] for label in range(len(texts))]), wordnet


def _transformer_blocks(config: Transformer) -> Iterator[str]:
    return (f"transformer_blocks.{number}" for number in range(config.num_layers))


def _down_and_mid_blocks(config: UNet) -> Iterator[str]:
    yield from (f"down_blocks.{number}" for number in range(len(config.down_block_types)))
    if config.mid_block_type is not None:
        yield MID
