"""Models out of a diffusers folder: safetensors only, files of this machine only, no code from the folder."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL

from app.domain.errors import BackboneUnavailable


@contextmanager
def reading(name: str) -> Iterator[None]:
    """What goes wrong inside is the folder's fault. Raises BackboneUnavailable naming the backbone `name`."""
    try:
        yield
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise BackboneUnavailable(f"backbone {name!r}: {' '.join(str(error).split())[:500]}") from error


def read_model(kind: Any, path: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """The diffusers model at `path`. Raises ValueError for one that lacks weights: diffusers would make them up."""
    options = {"use_safetensors": True, "local_files_only": True, "low_cpu_mem_usage": False, "torch_dtype": dtype}
    return _complete(path, *kind.from_pretrained(path, output_loading_info=True, **options)).to(device)


def read_autoencoder(folder: Path, device: torch.device) -> AutoencoderKL | None:
    """The folder's VAE in float32, if it has one."""
    path = folder / "vae"
    return read_model(AutoencoderKL, path, device, torch.float32) if (path / "config.json").is_file() else None


def read_config(folder: Path) -> Mapping[str, Any]:
    """The folder's scheduler_config.json. Raises ValueError if it is no JSON object."""
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    if not isinstance(config, dict):
        raise TypeError(f"{folder / 'scheduler' / 'scheduler_config.json'} is no JSON object")
    return config


def _complete(path: Path, model: Any, told: Mapping[str, Any]) -> Any:
    if missing := sorted(told["missing_keys"]):
        raise ValueError(f"{path} has no weights for {', '.join(missing[:3])}")
    return model
