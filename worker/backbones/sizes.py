"""Checks whether a configuration asks for more memory than its weights fill.

The check runs before any of that memory is taken.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

HEADER_BYTES = 128 << 20
MOST_TIMES = 1.5  # a file does not hold all buffers, nor each copy of weights that layers share
SLACK_NUMBERS = 1 << 20


def check_size(build: Callable[[], Any], files: Mapping[str, Path]) -> None:
    """Raises ValueError if `build` makes a model with far more numbers than the stored weights.

    The stored weights are the safetensors files among `files`. The libraries fill a model with
    random numbers before they look at the weights, so a wrong width, depth or vocabulary would take
    any amount of memory. This check makes no number: it builds the model without storage.
    """
    with torch.device("meta"):
        model = build()
    described = sum(one.numel() for one in (*model.parameters(), *model.buffers()))
    stored = sum(_numbers_in(path) for name, path in files.items() if name.endswith(".safetensors"))
    if described > MOST_TIMES * stored + SLACK_NUMBERS:
        raise ValueError(f"config.json describes a model of {described:,} numbers, but its weights are {stored:,}")


def _numbers_in(path: Path) -> int:
    """How many numbers a safetensors file holds, according to its header.

    The format is described at https://github.com/huggingface/safetensors, "Format".
    """
    with path.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        if size > HEADER_BYTES:
            raise ValueError(f"{path.name} is not a safetensors file: its header would have {size:,} bytes")
        header = json.loads(stream.read(size))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
