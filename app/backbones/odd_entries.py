"""Entries among the backbones that are no backbone: other formats, and how to convert them."""

import json
from pathlib import Path

from app.backbones.pipelines import INDEX

HEADER_BYTES = 4 << 20
LORA_FILES = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "pytorch_lora_weights.bin",
    "pytorch_lora_weights.safetensors",
)
MERGE = "load it into its model with diffusers (load_lora_weights, fuse_lora, unload_lora_weights) and save_pretrained that"
FROM_SINGLE_FILE = "StableDiffusionPipeline.from_single_file({file!r}).save_pretrained('NEW FOLDER') makes one of it"


def oddity(path: Path) -> str | None:
    """What the entry is and how to convert it; None for a folder with a `model_index.json`."""
    try:
        if (path / INDEX).is_file():
            return None
        if leads_nowhere(path):
            return f"is a link to {path.readlink()}, which is not there"
        return _folder(path) if path.is_dir() else _file(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def leads_nowhere(path: Path) -> bool:
    """Whether it is a link without a target, for example because a disk is not mounted."""
    return path.is_symlink() and not path.exists()


def _folder(path: Path) -> str:
    names = sorted(entry.name for entry in path.iterdir())
    if any(name in LORA_FILES for name in names):
        return f"is a LoRA, which changes another model: {MERGE}"
    if (path / "snapshots").is_dir():
        return _hub_cache(path / "snapshots")
    deeper = [name for name in names if (path / name / INDEX).is_file()]
    if deeper:
        return f"has its {INDEX} one folder deeper, in {deeper[0]}: move that folder up"
    files = [name for name in names if name.endswith((".safetensors", ".ckpt"))]
    if files and not (path / "config.json").is_file():
        return f"has no {INDEX}, but {files[0]}, a model in one file: {FROM_SINGLE_FILE.format(file=str(path / files[0]))}"
    if "config.json" in names:
        return f"has no {INDEX}: it is a single part of a pipeline, or another library's model"
    return f"has no {INDEX}: it is not a folder in diffusers' format"


def _hub_cache(snapshots: Path) -> str:
    revisions = sorted(entry for entry in snapshots.iterdir() if (entry / INDEX).is_file())
    source = revisions[0] if revisions else snapshots / "REVISION"
    return f"is a cache of the Hugging Face hub: copy one revision, as by `cp -rL {source} {snapshots.parent.parent}/NAME`"


def _file(path: Path) -> str:
    if path.suffix == ".safetensors" and _is_lora(path):
        return f"is a LoRA, which changes another model: {MERGE}"
    if path.suffix in (".safetensors", ".ckpt"):
        return f"is a model in one file, not a folder in diffusers' format: {FROM_SINGLE_FILE.format(file=str(path))}"
    return "is a file, not a folder in diffusers' format: save the model with save_pretrained"


def _is_lora(path: Path) -> bool:
    """Whether the names of the tensors, at the start of the file, are those of a LoRA."""
    with path.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = stream.read(size) if size <= HEADER_BYTES else b""
    try:
        names = json.loads(header)
    except (ValueError, RecursionError):
        return False
    return any("lora" in name for name in names if isinstance(name, str))
