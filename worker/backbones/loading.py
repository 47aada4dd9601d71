"""Loads models from a diffusers folder.

It reads safetensors only and files of this machine only, and runs no code from the folder.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import AutoencoderKL

from app.backbones.catalog import BackboneFolder
from app.domain.errors import BackboneRejected, BackboneUnavailable
from worker.backbones.sizes import check_size

CLIP_VOCABULARY = ("vocab.json", "merges.txt")


@dataclass(frozen=True)
class Reader:
    """Reads the parts of a folder, each named by its sub-folder.

    Models go to `device` in `dtype`. A model that lacks weights is an error, because the libraries
    would make up the missing weights. Every method raises BackboneUnavailable if a file is missing,
    and BackboneRejected if a file cannot be used. Both errors name the part.
    """

    folder: BackboneFolder
    device: torch.device
    dtype: torch.dtype

    def has(self, part: str) -> bool:
        return bool(self.folder.files_of(part))

    @contextmanager
    def reading(self, part: str) -> Iterator[Path]:
        """A folder that links to the files of the part and to no others.

        A library therefore cannot read any files other than those that were hashed. An error inside
        the block is reported as the fault of `part`.
        """
        path = self.folder.path / part
        with TemporaryDirectory(prefix="dapple-") as links:
            try:
                for name, file in self.folder.files_of(part).items():
                    (Path(links) / name).symlink_to(_there(file))
                yield Path(links)
            except (torch.OutOfMemoryError, MemoryError, BackboneUnavailable):
                raise
            except Exception as error:  # a library may raise anything on a folder that it cannot read
                text = " ".join(str(error).replace(links, str(path)).split())[:500]
                passing = isinstance(error, OSError) and error.errno
                kind = BackboneUnavailable if passing else BackboneRejected
                raise kind(f"backbone {self.folder.name!r}: {path}: {text}") from error

    def model(self, kind: Any, part: str) -> Any:
        """A diffusers model of the class `kind`."""
        options = {"use_safetensors": True, "local_files_only": True, "low_cpu_mem_usage": False}
        with self.reading(part) as path:
            _refuse_quantized(path)
            check_size(lambda: kind.from_config(kind.load_config(path, local_files_only=True)), self.folder.files_of(part))
            model = _complete(*kind.from_pretrained(path, torch_dtype=self.dtype, output_loading_info=True, **options))
            if model.dtype != self.dtype:  # diffusers leaves SD3's transformer in the dtype of its file
                torch.nn.Module.to(model, self.dtype)  # the model's own `to` warns of float32 modules, of which it has none
            return _apart_from_files(model.to(self.device))

    def autoencoder(self) -> AutoencoderKL:
        """The VAE, in float32 whatever the dtype of the models."""
        return Reader(self.folder, self.device, torch.float32).model(AutoencoderKL, "vae")

    def text_encoder(self, kind: Any, part: str) -> Any:
        """A transformers model of the class `kind`."""
        # A configuration may name another attention implementation, which transformers would fetch
        # from its hub and run.
        options = {"use_safetensors": True, "local_files_only": True, "attn_implementation": "sdpa"}
        with self.reading(part) as path:
            _refuse_quantized(path)  # without config.json, transformers would use a default configuration
            check_size(lambda: kind(_plain_config(kind, path)), self.folder.files_of(part))
            model = _complete(*kind.from_pretrained(path, dtype=self.dtype, output_loading_info=True, **options))
            return _apart_from_files(model.to(self.device))

    def tokenizer(self, kind: Any, part: str, text_encoder: Any) -> Any:
        """A transformers tokenizer of the class `kind`, which fits the text encoder."""
        with self.reading(part) as path:
            if not (path / "tokenizer.json").is_file() and not all((path / file).is_file() for file in CLIP_VOCABULARY):
                # transformers would use a vocabulary without words
                raise ValueError(f"there is neither tokenizer.json nor {' and '.join(CLIP_VOCABULARY)}")
            tokenizer = kind.from_pretrained(path, local_files_only=True)
            _check_fit(tokenizer, text_encoder.config)
            return tokenizer

    def scheduler_config(self) -> Mapping[str, Any]:
        with self.reading("scheduler") as path:
            config = json.loads((path / "scheduler_config.json").read_text(encoding="utf-8"))
            if not isinstance(config, dict):
                raise TypeError("scheduler_config.json is not a JSON object")
            return config


def _there(file: Path) -> Path:
    """The absolute path of `file`. Raises OSError if the file is missing."""
    os.stat(file)  # noqa: PTH116 - called only for the error it raises
    return file.absolute()


def _refuse_quantized(path: Path) -> None:
    """Raises ValueError if the configuration names a quantizer.

    The libraries would look up that quantizer and run it.
    """
    if "quantization_config" in json.loads((path / "config.json").read_text(encoding="utf-8")):
        raise ValueError("config.json: quantization_config: only plain weights can be used")


def _plain_config(kind: Any, path: Path) -> Any:
    """The sizes that the configuration gives a transformers model.

    The fields that may name something to fetch or run are left out.
    """
    fields = json.loads((path / "config.json").read_text(encoding="utf-8"))
    return kind.config_class.from_dict({name: value for name, value in fields.items() if "attn" not in name})


def _complete(model: Any, told: Mapping[str, Any]) -> Any:
    if missing := sorted(told["missing_keys"]):
        raise ValueError(f"there are no weights for {', '.join(missing[:3])}")
    return model


def _apart_from_files(model: Any) -> Any:
    """The model, with copies of the weights that are mapped from a file.

    Without the copies, overwriting the file in place would change the weights.
    """
    for weight in (*model.parameters(), *model.buffers()):
        if weight.device.type == "cpu":
            weight.data = weight.data.clone()
    return model


def _check_fit(tokenizer: Any, config: Any) -> None:
    longest = getattr(config, "max_position_embeddings", None)  # T5 has no maximum
    if longest is not None and tokenizer.model_max_length > longest:
        raise ValueError(f"model_max_length is {tokenizer.model_max_length}, but the text encoder takes {longest} tokens")
    if len(tokenizer) > config.vocab_size:
        raise ValueError(f"it knows {len(tokenizer)} tokens, its text encoder {config.vocab_size}")
