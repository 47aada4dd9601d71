"""A backbone as its folder describes it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from app.domain.model import Family

CONTENT = ("*.json", "*.safetensors", "merges.txt")  # the last is a tokenizer's


@dataclass(frozen=True, kw_only=True)
class BackboneFolder:
    """A diffusion model in diffusers' format.

    `taps` are the blocks that can be tapped, in order of depth. `classes` are in the order of their labels; `labels` also knows
    the aliases that the folder gives them, and `label_count` counts those without a name as well; a model that takes words has
    none. `wordnet`: the labels are ImageNet-1K's. `learned_variance`: the model predicts the variance of DDPM's steps.
    """

    name: str
    path: Path
    family: Family
    taps: tuple[str, ...]
    classes: tuple[str, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict[str, int], repr=False)
    label_count: int = 0
    wordnet: bool = False
    learned_variance: bool = False
    image_size: int
    channels: int
    weights_bytes: int

    @property
    def prompted(self) -> bool:
        return self.family.prompted

    @property
    def flow(self) -> bool:
        return self.family.flow

    def revision(self) -> str:
        """SHA-256 over the relative path and the SHA-256 of every file of configuration, weights or vocabulary, in order."""
        digest = hashlib.sha256()
        for file in sorted(file for pattern in CONTENT for file in self.path.rglob(pattern) if file.is_file()):
            stat = file.stat()
            content = _sha256(file, stat.st_size, stat.st_mtime_ns)
            digest.update(f"{file.relative_to(self.path).as_posix()}\0{content}\n".encode())
        return digest.hexdigest()


@lru_cache(maxsize=256)
def _sha256(file: Path, _size_bytes: int, _modified_ns: int) -> str:
    """Remembered until the file changes: weights are gigabytes, and every job asks."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
