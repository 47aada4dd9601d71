"""All that an interrupted run needs to continue, in one file."""

import io
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch

from app.domain.errors import PermanentError
from worker.training.config import TrainingConfig
from worker.training.durable import write_bytes
from worker.training.model import Architecture

CHECKPOINT = "checkpoint.pt"
NOT_COMPARED = ("checkpoint_every", "checkpoint_seconds", "samples_seconds")  # none of these changes the weights


FIELDS = frozenset({"step", "fingerprint", "losses", "model", "averaged", "optimizer"})
SETTINGS = frozenset(each.name for kind in (Architecture, TrainingConfig) for each in fields(kind)) - {*NOT_COMPARED}


def fingerprint(architecture: Architecture, config: TrainingConfig) -> dict[str, Any]:
    """The settings that determine the weights, apart from the images."""
    return {name: value for name, value in (asdict(architecture) | asdict(config)).items() if name not in NOT_COMPARED}


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Replace the checkpoint in one step. A failure leaves the previous checkpoint."""
    stream = io.BytesIO()
    torch.save(dict(content), stream)
    write_bytes(path, stream.getbuffer())  # torch itself would report a full disk as an error of its own


def read(path: Path, device: torch.device) -> dict[str, Any]:
    """The content that `write` was given.

    Raises PermanentError naming the file if it cannot be read or lacks a field that this version
    writes.
    """
    try:
        saved = torch.load(path, weights_only=True, map_location=device)
        content = {**saved, "fingerprint": dict(saved["fingerprint"])}
    except Exception as error:  # torch may raise nearly any exception on a damaged file
        text = f"{path} is damaged or of another version ({type(error).__name__}); remove it to begin anew"
        raise PermanentError(text) from error
    if not (content.keys() >= FIELDS and content["fingerprint"].keys() >= SETTINGS):
        raise PermanentError(f"{path} is of an earlier version; remove {path} to begin anew")
    return content


def recorded(path: Path) -> Mapping[str, Any] | None:
    """The fingerprint of an unfinished run, or None if there is none."""
    return read(path, torch.device("cpu"))["fingerprint"] if path.exists() else None


def check_same(path: Path, saved: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raises PermanentError if the run that wrote the checkpoint differs from the requested run.

    The error names each setting that differs.
    """
    differing = [name for name, value in asked.items() if saved.get(name) != value]
    if differing:
        told = "; ".join(_difference(name, saved.get(name), asked[name]) for name in differing)
        raise PermanentError(
            f"{path} belongs to a run with other settings or images: {told}. Repeat the command as it was to go on with it; "
            f"for another run choose another --name, or remove {path.parent}"
        )


def _difference(name: str, before: object, now: object) -> str:
    if name == "data":
        return "the images or their labels have changed"
    return f"{name} was {before}, now {now}"
