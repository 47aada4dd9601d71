"""Backbones on disk: diffusers-format folders below the configured roots, read without torch."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, Field, PositiveInt, ValidationError

from app.domain.errors import BackboneUnavailable, InvalidSpec

INDEX = "model_index.json"
CONFIG = "config.json"
COLOUR = 3

Roots = Sequence[tuple[str, Path]]
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class BackboneFolder:
    """A diffusion model as its folder describes it.

    `classes` are in the order of their labels; `labels` also knows the aliases that the folder gives them.
    """

    name: str
    path: Path
    classes: tuple[str, ...]
    labels: Mapping[str, int] = field(repr=False)
    blocks: int
    image_size: int
    channels: int
    weights_bytes: int

    def revision(self) -> str:
        """SHA-256 over the relative path and the SHA-256 of every *.json and *.safetensors, in order: what the model is."""
        digest = hashlib.sha256()
        for file in sorted(_files(self.path, "*.json", "*.safetensors")):
            stat = file.stat()
            content = _sha256(file, stat.st_size, stat.st_mtime_ns)
            digest.update(f"{file.relative_to(self.path).as_posix()}\0{content}\n".encode())
        return digest.hexdigest()


def find(roots: Roots, name: str) -> BackboneFolder:
    """The backbone with this name.

    Raises InvalidSpec naming `backbone` for one that no root has, BackboneUnavailable naming the file that is missing or
    malformed. Names are compared with the folders that exist, so none can lead out of the roots.
    """
    folders = dict(_folders(roots))
    if name not in folders:
        nearest = get_close_matches(name, folders, n=3) or sorted(folders)
        raise InvalidSpec.of("backbone", f"no backbone {name!r}; there is {', '.join(nearest) or 'none'}")
    return _read(name, folders[name])


def list_all(roots: Roots) -> list[BackboneFolder]:
    """Every backbone that can be used, by name; `find` says what is wrong with one that is missing here."""
    return [folder for name, path in sorted(_folders(roots)) if (folder := _read_usable(name, path))]


def _folders(roots: Roots) -> Iterator[tuple[str, Path]]:
    for prefix, root in roots:
        if root.is_dir():
            yield from ((prefix + path.name, path) for path in sorted(root.iterdir()) if (path / INDEX).is_file())


def _read_usable(name: str, path: Path) -> BackboneFolder | None:
    try:
        return _read(name, path)
    except BackboneUnavailable:
        return None


class _Index(BaseModel):
    class_name: Literal["DiTPipeline"] = Field(alias="_class_name")
    id2label: dict[int, str] = Field(min_length=1)


class _Transformer(BaseModel):
    num_layers: PositiveInt
    sample_size: PositiveInt
    in_channels: PositiveInt
    num_embeds_ada_norm: PositiveInt


class _Vae(BaseModel):
    block_out_channels: list[PositiveInt] = Field(min_length=1)


def _read(name: str, path: Path) -> BackboneFolder:
    index = _config(name, path / INDEX, _Index)
    transformer = _config(name, path / "transformer" / CONFIG, _Transformer)
    if sorted(index.id2label) != list(range(len(index.id2label))) or len(index.id2label) > transformer.num_embeds_ada_norm:
        most = transformer.num_embeds_ada_norm
        raise BackboneUnavailable(f"backbone {name}: {INDEX}: id2label must name the labels 0, 1, …, at most {most} of them")
    words = [[word.strip() for word in index.id2label[label].split(",")] for label in range(len(index.id2label))]
    image_size, channels = _image_shape(name, path, transformer)
    return BackboneFolder(
        name=name,
        path=path,
        classes=tuple(names[0] for names in words),
        labels=_labels(words),
        blocks=transformer.num_layers,
        image_size=image_size,
        channels=channels,
        weights_bytes=_weights_bytes(name, path),
    )


def _config(name: str, file: Path, model: type[Model]) -> Model:
    """A configuration file's fields. Raises BackboneUnavailable naming the file and the first field at fault."""
    try:
        return model.model_validate_json(file.read_bytes())
    except OSError as error:
        raise BackboneUnavailable(f"backbone {name}: {file}: {error.strerror}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "content"
        raise BackboneUnavailable(f"backbone {name}: {file}: {where}: {fault['msg']}") from error


def _labels(words: Sequence[Sequence[str]]) -> Mapping[str, int]:
    """Every name and alias to its label; names go before aliases, and ImageNet's doubles to the first of them."""
    names = ((names[0], label) for label, names in enumerate(words))
    aliases = ((alias, label) for label, names in enumerate(words) for alias in names[1:])
    labels: dict[str, int] = {}
    for word, label in chain(names, aliases):
        labels.setdefault(word, label)
    return labels


def _image_shape(name: str, path: Path, transformer: _Transformer) -> tuple[int, int]:
    """Size in pixels and channels of the images; without a VAE the transformer works on the pixels themselves."""
    if not (path / "vae").is_dir():
        return transformer.sample_size, transformer.in_channels
    vae = _config(name, path / "vae" / CONFIG, _Vae)
    return transformer.sample_size * 2 ** (len(vae.block_out_channels) - 1), COLOUR


def _weights_bytes(name: str, path: Path) -> int:
    weights = {file: file.stat().st_size for file in _files(path, "*.safetensors")}
    if not any(file.parent == path / "transformer" for file in weights):
        raise BackboneUnavailable(f"backbone {name}: {path / 'transformer'}: there is no *.safetensors")
    return sum(weights.values())


def _files(path: Path, *patterns: str) -> Iterator[Path]:
    return (file for pattern in patterns for file in path.rglob(pattern) if file.is_file())


@lru_cache(maxsize=256)
def _sha256(file: Path, _size_bytes: int, _modified_ns: int) -> str:
    """Remembered until the file changes: weights are gigabytes, and every job asks."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
