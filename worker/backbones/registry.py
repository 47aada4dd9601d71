"""Backbones by name, loaded once per process."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch

from app.storage.backbones import find
from worker.backbones.base import Backbone
from worker.backbones.dit import DiTBackbone

RESIDENT = 2


class BackboneRegistry:
    """Loads what lies under the configured roots; the last RESIDENT used stay in memory until their files change."""

    def __init__(self, roots: Sequence[tuple[str, Path]], device: torch.device) -> None:
        self._roots = roots
        self._device = device
        self._resident = lru_cache(maxsize=RESIDENT)(self._load)

    def get(self, name: str) -> Backbone:
        """Raises InvalidSpec for a name that is not on the list, BackboneUnavailable for a broken folder."""
        return self._resident(name, find(self._roots, name).revision())

    def _load(self, name: str, _revision: str) -> Backbone:
        return DiTBackbone.load(find(self._roots, name), self._device)


def device_named(name: str) -> torch.device:
    """The device for "auto" (the first GPU if there is one), "cpu", "cuda" or "cuda:1"."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
