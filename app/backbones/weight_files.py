"""Find a model's weights in a folder: one file, or an index and its shards."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from app.backbones.regular_files import TooLarge, read_limited

INDEX_BYTES = 16 << 20
HEADER_BYTES = 16 << 20  # that of a model with thousands of tensors has some hundred KB
PREFERRED = "fp16"  # among several variants if there is not a plain file
SHARD = re.compile(r"-[0-9]{5}-of-[0-9]{5}")
OTHER_FORMATS = (".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".onnx", ".gguf", ".h5", ".safetensors")
MOST_NAMED = 3
POINTER = b"version https://git-lfs"


class Missing(Exception):
    """There are no weights in any format."""


class Unusable(Exception):
    """The files are no weights, or it is ambiguous which of them are."""


class Damaged(Exception):
    """A file is incomplete, or a shard is missing."""


class _Index(BaseModel):
    weight_map: dict[str, str] = Field(min_length=1)


class _Tensor(BaseModel):
    """The header's entry for a tensor. The entry `__metadata__` has no offsets."""

    data_offsets: tuple[int, int] | None = None


_Header = TypeAdapter(dict[str, _Tensor])


@dataclass(frozen=True)
class WeightFiles:
    """The weight files by the names that the library looks for."""

    by_name: dict[str, Path]

    @property
    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.by_name.values() if path.suffix == ".safetensors")


@dataclass
class _Variant:
    """A whole file, an index, or both."""

    whole: Path | None = None
    index: Path | None = None


def weight_files(part: Path, stem: str) -> WeightFiles:
    """The weights in the folder `part` with this stem, such as `diffusion_pytorch_model`.

    A variant such as `diffusion_pytorch_model.fp16.safetensors` counts only if there is no plain
    file. Beside a whole file, an index counts only if all its shards are there; then the choice is
    ambiguous. Raises Missing, Unusable or Damaged; each names the file.
    """
    by_name = _found(part, stem)
    for path in by_name.values():
        _require_whole(path)
    return WeightFiles(by_name)


def _require_whole(path: Path) -> None:
    """Raises Unusable for a Git LFS pointer, Damaged for a truncated or invalid safetensors file.

    Reads only the header. The end of the last tensor is the end of the file.
    """
    with path.open("rb") as stream:
        start = stream.read(len(POINTER))
        if start == POINTER:
            raise Unusable(f"{path.name} is a pointer of Git LFS, not the weights: fetch them with `git lfs pull`")
        if path.suffix != ".safetensors":
            return
        length = int.from_bytes(start[:8], "little")
        stream.seek(8)
        header = stream.read(length) if length <= HEADER_BYTES else b""
    if _whole_bytes(header) != path.stat().st_size:
        raise Damaged(f"{path.name} is damaged or cut short: copy or download it again")


def _whole_bytes(header: bytes) -> int | None:
    """The size of a complete file with this header: length field, header and tensors.

    None if the header is invalid.
    """
    try:
        tensors = _Header.validate_json(header)
    except ValidationError:
        return None
    return 8 + len(header) + max((tensor.data_offsets[1] for tensor in tensors.values() if tensor.data_offsets), default=0)


def _found(part: Path, stem: str) -> dict[str, Path]:
    names = sorted(path.name for path in part.iterdir()) if part.is_dir() else []
    variants = _variants(part, stem, names)
    if not variants:
        raise _nothing(stem, names)
    chosen = variants[_choice(variants)]
    if chosen.index is None:
        return {f"{stem}.safetensors": path for path in (chosen.whole,) if path}
    shards = _shards(chosen.index)
    missing = [name for name, path in shards.items() if not path.is_file()]
    if chosen.whole is None:
        _require_none(missing, chosen.index)
        return {f"{stem}.safetensors.index.json": chosen.index, **shards}
    if not missing:
        fault = f"both {chosen.whole.name} and all that {chosen.index.name} names are there"
        raise Unusable(f"{fault}: remove one of them")
    return {f"{stem}.safetensors": chosen.whole}


def _variants(part: Path, stem: str, names: Collection[str]) -> dict[str, _Variant]:
    """Whole files and indices by variant. The plain variant has the key ""."""
    found: dict[str, _Variant] = {}
    for name in names:
        if not name.startswith(f"{stem}.") or SHARD.search(name) or not (part / name).is_file():
            continue
        rest = name[len(stem) + 1 :]
        if match := re.fullmatch(r"(?:(?P<a>[\w.-]+)\.)?safetensors\.index(?:\.(?P<b>[\w.-]+))?\.json", rest):
            found.setdefault(match["a"] or match["b"] or "", _Variant()).index = part / name
        elif match := re.fullmatch(r"(?:(?P<a>[\w.-]+)\.)?safetensors", rest):
            found.setdefault(match["a"] or "", _Variant()).whole = part / name
    return found


def _choice(variants: Collection[str]) -> str:
    for preferred in ("", PREFERRED):
        if preferred in variants:
            return preferred
    if len(variants) > 1:
        raise Unusable(f"there are only the variants {', '.join(sorted(variants))}: keep one of them")
    return next(iter(variants))


def _shards(index: Path) -> dict[str, Path]:
    """The shards that an index names. Raises Unusable."""
    try:
        names = sorted(set(_Index.model_validate_json(read_limited(index, INDEX_BYTES)).weight_map.values()))
    except (ValidationError, TooLarge) as error:
        fault = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise Unusable(f"{index.name}: weight_map: {fault}") from error
    for name in names:
        if not re.fullmatch(r"[\w.-]+\.safetensors", name):
            raise Unusable(f"{index.name}: weight_map: {name[:100]!r} is not a safetensors file beside it")
    return {name: index.with_name(name) for name in names}


def _require_none(missing: Sequence[str], index: Path) -> None:
    if missing:
        fault = f"{index.name} names {_few(missing)}, which {'is' if len(missing) == 1 else 'are'} not there"
        raise Damaged(f"{fault}: copy or download the folder again")


def _nothing(stem: str, names: Collection[str]) -> Exception:
    """The error for a part without weights: they are missing, or have another format."""
    others = [name for name in names if name.endswith(OTHER_FORMATS)]
    if not others:
        return Missing(f"there is no {stem}.safetensors")
    return Unusable(f"there is no {stem}.safetensors, but {_few(others)}")


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
