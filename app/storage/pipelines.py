"""What diffusers' configuration files say of a model: DiTPipeline, StableDiffusionPipeline, StableDiffusion3Pipeline."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, Field, PositiveInt, ValidationError

from app.domain.errors import BackboneUnavailable
from app.domain.model import Family
from app.domain.taps import MID
from app.storage.folder import BackboneFolder

INDEX = "model_index.json"
CONFIG = "config.json"
SCHEDULER_CONFIG = "scheduler_config.json"
WEIGHTS = {"text_encoder": "model", "": "diffusion_pytorch_model"}  # by how the part's name begins: what its library loads
VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
IMAGENET = (1000, "tench", "toilet tissue")  # number of labels, the first name and the last

Config = TypeVar("Config", bound=BaseModel)


class _Index(BaseModel):
    class_name: Literal["DiTPipeline", "StableDiffusionPipeline", "StableDiffusion3Pipeline"] = Field(alias="_class_name")


class _Labels(BaseModel):
    id2label: dict[int, str] = Field(min_length=1)


class _Denoiser(BaseModel):
    sample_size: PositiveInt
    in_channels: PositiveInt


class _Transformer(_Denoiser):
    num_layers: PositiveInt


class _DiT(_Transformer):
    num_embeds_ada_norm: PositiveInt
    out_channels: PositiveInt | None = None


class _UNet(_Denoiser):
    down_block_types: list[str] = Field(min_length=1)
    mid_block_type: str | None = "UNetMidBlock2DCrossAttn"
    cross_attention_dim: PositiveInt
    addition_embed_type: None = None
    class_embed_type: None = None
    num_class_embeds: None = None


class _Vae(BaseModel):
    block_out_channels: list[PositiveInt] = Field(min_length=1)
    latent_channels: PositiveInt = 4
    out_channels: Literal[1, 3] = 3


class _NoiseSchedule(BaseModel):
    prediction_type: Literal["epsilon", "v_prediction"] = "epsilon"


class _FlowSchedule(BaseModel):
    class_name: Literal["FlowMatchEulerDiscreteScheduler"] = Field(alias="_class_name")


def read(name: str, path: Path) -> BackboneFolder:
    """The backbone in the folder `path`. Raises BackboneUnavailable naming the file, and its field, at fault."""
    folder = _Folder(name, path)
    return READERS[folder.config(INDEX, model=_Index).class_name](folder)


@dataclass(frozen=True)
class _Folder:
    """A backbone's folder; every method raises BackboneUnavailable naming the file at fault."""

    name: str
    path: Path

    def refusal(self, *parts: str, fault: str) -> BackboneUnavailable:
        return BackboneUnavailable(f"backbone {self.name}: {self.path.joinpath(*parts)}: {fault}")

    def has(self, part: str) -> bool:
        return (self.path / part).is_dir()

    def config(self, *parts: str, model: type[Config]) -> Config:
        """A configuration file's fields; the first of them at fault is named."""
        try:
            return model.model_validate_json(self.path.joinpath(*parts).read_bytes())
        except OSError as error:
            raise self.refusal(*parts, fault=str(error.strerror)) from error
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"])) or "content"
            raise self.refusal(*parts, fault=f"{where}: {fault['msg']}") from error

    def need_weights(self, part: str) -> None:
        stem = next(stem for start, stem in WEIGHTS.items() if part.startswith(start))
        if not any((self.path / part / f"{stem}.safetensors{index}").is_file() for index in ("", ".index.json")):
            raise self.refusal(part, fault=f"there is no {stem}.safetensors")

    def need_text_encoder(self, suffix: str = "") -> None:
        self.need_weights(f"text_encoder{suffix}")
        tokenizer = self.path / f"tokenizer{suffix}"
        if not any(all((tokenizer / file).is_file() for file in files) for files in VOCABULARIES):
            either = " nor ".join(" with ".join(files) for files in VOCABULARIES)
            raise self.refusal(f"tokenizer{suffix}", fault=f"there is neither {either}")

    def image_shape(self, denoiser: str, config: _Denoiser) -> tuple[int, int]:
        """Side in pixels and channels of the images that the VAE makes of the denoiser's latents."""
        self.need_weights("vae")
        vae = self.config("vae", CONFIG, model=_Vae)
        if config.in_channels != vae.latent_channels:
            fault = f"in_channels: it takes {config.in_channels}, but the VAE's latents have {vae.latent_channels}"
            raise self.refusal(denoiser, CONFIG, fault=f"{fault}; models for inpainting, editing or upscaling cannot be used")
        return config.sample_size * 2 ** (len(vae.block_out_channels) - 1), vae.out_channels

    def weights_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.path.rglob("*.safetensors") if file.is_file())


def _dit(folder: _Folder) -> BackboneFolder:
    """Class-conditional, from `id2label`; without a VAE the transformer works on the pixels themselves."""
    config = folder.config("transformer", CONFIG, model=_DiT)
    folder.config("scheduler", SCHEDULER_CONFIG, model=_NoiseSchedule)
    folder.need_weights("transformer")
    words = _words(folder, config.num_embeds_ada_norm)
    classes = tuple(names[0] for names in words)
    on_pixels = config.sample_size, config.in_channels
    image_size, channels = folder.image_shape("transformer", config) if folder.has("vae") else on_pixels
    return BackboneFolder(
        name=folder.name,
        path=folder.path,
        family=Family.DIT,
        taps=tuple(_transformer_blocks(config)),
        classes=classes,
        labels=_labels(words),
        label_count=config.num_embeds_ada_norm,
        wordnet=(len(classes), classes[0], classes[-1]) == IMAGENET,
        learned_variance=config.out_channels == 2 * config.in_channels,
        image_size=image_size,
        channels=channels,
        weights_bytes=folder.weights_bytes(),
    )


def _stable_diffusion(folder: _Folder) -> BackboneFolder:
    config = folder.config("unet", CONFIG, model=_UNet)
    folder.config("scheduler", SCHEDULER_CONFIG, model=_NoiseSchedule)
    folder.need_weights("unet")
    folder.need_text_encoder()
    image_size, channels = folder.image_shape("unet", config)
    return BackboneFolder(
        name=folder.name,
        path=folder.path,
        family=Family.STABLE_DIFFUSION,
        taps=tuple(_down_and_mid_blocks(config)),
        image_size=image_size,
        channels=channels,
        weights_bytes=folder.weights_bytes(),
    )


def _stable_diffusion_3(folder: _Folder) -> BackboneFolder:
    """The third text encoder, T5, may be left out, as its authors allow (Esser et al., arXiv 2403.03206)."""
    config = folder.config("transformer", CONFIG, model=_Transformer)
    folder.config("scheduler", SCHEDULER_CONFIG, model=_FlowSchedule)
    folder.need_weights("transformer")
    for suffix in ("", "_2", *(["_3"] if folder.has("text_encoder_3") else [])):
        folder.need_text_encoder(suffix)
    image_size, channels = folder.image_shape("transformer", config)
    return BackboneFolder(
        name=folder.name,
        path=folder.path,
        family=Family.STABLE_DIFFUSION_3,
        taps=tuple(_transformer_blocks(config)),
        image_size=image_size,
        channels=channels,
        weights_bytes=folder.weights_bytes(),
    )


READERS = {
    "DiTPipeline": _dit,
    "StableDiffusionPipeline": _stable_diffusion,
    "StableDiffusion3Pipeline": _stable_diffusion_3,
}


def _transformer_blocks(config: _Transformer) -> Iterator[str]:
    return (f"transformer_blocks.{number}" for number in range(config.num_layers))


def _down_and_mid_blocks(config: _UNet) -> Iterator[str]:
    yield from (f"down_blocks.{number}" for number in range(len(config.down_block_types)))
    if config.mid_block_type is not None:
        yield MID


def _words(folder: _Folder, label_count: int) -> list[list[str]]:
    """For each label its name and aliases."""
    labels = folder.config(INDEX, model=_Labels).id2label
    if sorted(labels) != list(range(len(labels))) or len(labels) > label_count:
        raise folder.refusal(INDEX, fault=f"id2label must name the labels 0, 1, …, at most {label_count} of them")
    return [[word.strip() for word in labels[label].split(",")] for label in range(len(labels))]


def _labels(words: Sequence[Sequence[str]]) -> Mapping[str, int]:
    """Every name and alias to its label; names go before aliases, and ImageNet's doubles to the first of them."""
    names = ((names[0], label) for label, names in enumerate(words))
    aliases = ((alias, label) for label, names in enumerate(words) for alias in names[1:])
    labels: dict[str, int] = {}
    for word, label in chain(names, aliases):
        labels.setdefault(word, label)
    return labels
