"""Backbones by name, loaded once per process."""

import os
from collections import OrderedDict

import torch

from app.backbones.catalog import BackboneFolder, Family, Roots, find
from app.domain.errors import BackboneUnavailable, PermanentError
from worker.backbones.base import Backbone
from worker.backbones.diffusion import DiffusionBackbone
from worker.backbones.dit import DiTBackbone
from worker.backbones.stable_diffusion import StableDiffusionBackbone
from worker.backbones.stable_diffusion_3 import StableDiffusion3Backbone

ADAPTERS = {
    Family.DIT: DiTBackbone,
    Family.STABLE_DIFFUSION: StableDiffusionBackbone,
    Family.STABLE_DIFFUSION_3: StableDiffusion3Backbone,
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class BackboneRegistry:
    """Loads the backbones under the configured roots.

    A model stays in memory until its files change or other models need the memory. The least
    recently used models go first. `memory_bytes` is the most that all models may take together, by
    default half of the device's memory. A larger model still loads, alone.
    """

    def __init__(
        self,
        roots: Roots,
        device: torch.device,
        *,
        dtype: torch.dtype = torch.float32,
        compiled: bool = False,
        memory_bytes: int | None = None,
    ) -> None:
        self._roots = roots
        self._device = device
        self._dtype = dtype
        self._compiled = compiled
        self._memory_bytes = memory_bytes_of(device) // 2 if memory_bytes is None else memory_bytes
        self.loads = 0  # since the process began
        self._resident: OrderedDict[str, DiffusionBackbone] = OrderedDict()  # by name, the least recently used first

    @property
    def resident(self) -> frozenset[str]:
        """Names of the models in memory."""
        return frozenset(self._resident)

    @property
    def resident_bytes(self) -> int:
        """Bytes of the models in memory."""
        return sum(one.memory_bytes for one in tuple(self._resident.values()))

    def get(self, name: str) -> Backbone:
        """The backbone called `name`, loaded if it is not in memory.

        Raises InvalidSpec if no root has a backbone of this name, BackboneUnavailable if its folder
        cannot be used (now).
        """
        folder = find(self._roots, name)
        revision = folder.revision()
        resident = self._resident.pop(name, None)
        if resident is None or resident.revision != revision:
            del resident  # free the old model before the new one is read: both may not fit
            self._make_room(folder.weights_bytes)
            resident = self._load(folder, revision)
            self._make_room(resident.memory_bytes)
        self._resident[name] = resident
        return resident

    def _load(self, folder: BackboneFolder, revision: str) -> DiffusionBackbone:
        loaded = ADAPTERS[folder.info.family].load(folder, self._device, dtype=self._dtype)
        if loaded.revision != revision:  # `load` computes the revision last
            raise BackboneUnavailable(f"backbone {folder.name}: {folder.path}: its files changed while they were loaded")
        self.loads += 1
        if self._compiled:
            loaded.compile()
        return loaded

    def _make_room(self, needed_bytes: int) -> None:
        while self._resident and needed_bytes + self.resident_bytes > self._memory_bytes:
            self._resident.popitem(last=False)


def device_named(name: str) -> torch.device:
    """The device for "auto" (the first GPU if there is one), "cpu", "cuda" or "cuda:1".

    Raises PermanentError if the device does not exist.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise PermanentError(f"there is no device {name}: torch {torch.__version__} finds {torch.cuda.device_count()} GPUs")
    return device


def dtype_named(name: str, device: torch.device) -> torch.dtype:
    """The dtype for "float32", "bfloat16", "float16" or "auto".

    "auto" is bfloat16 on GPUs that support it, and float32 elsewhere.
    """
    if name != "auto":
        return DTYPES[name]
    return torch.bfloat16 if device.type == "cuda" and _has_bfloat16(device) else torch.float32


def memory_bytes_of(device: torch.device) -> int:
    """The total memory of the device, or of the machine if the device is the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _has_bfloat16(device: torch.device) -> bool:
    with torch.cuda.device(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)
