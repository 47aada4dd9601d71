"""A backbone as its folder describes it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.domain.errors import BackboneUnavailable
from app.domain.labels import Labels
from app.domain.model import Family
from app.storage.regular_files import sha256


@dataclass(frozen=True, kw_only=True)
class BackboneFolder:
    """A diffusion model in diffusers' format.

    `taps` are the blocks that can be tapped, in order of depth. `classes` are in the order of their labels; `labels` also knows
    the aliases that the folder gives them, and `label_count` counts those without a name as well; a model that takes words has
    none. `wordnet`: the labels are ImageNet-1K's. `learned_variance`: the model predicts the variance of DDPM's steps.
    `files` are those that are loaded and no others, by the path below the folder under which a library looks for them: weights
    of another variant lie elsewhere. `weights_bytes` is the size of the weights among them.
    """

    name: str
    path: Path
    family: Family
    taps: tuple[str, ...]
    classes: tuple[str, ...] = ()
    labels: Labels = field(default_factory=lambda: Labels(()), repr=False)
    label_count: int = 0
    wordnet: bool = False
    learned_variance: bool = False
    image_size: int
    channels: int
    weights_bytes: int
    files: Mapping[str, Path] = field(repr=False)

    @property
    def prompted(self) -> bool:
        return self.family.prompted

    @property
    def flow(self) -> bool:
        return self.family.flow

    def files_of(self, part: str) -> Mapping[str, Path]:
        """The loaded files of a sub-folder, by name."""
        start = f"{part}/"
        return {name.removeprefix(start): path for name, path in self.files.items() if name.startswith(start)}

    def revision(self) -> str:
        """SHA-256 over the name and the SHA-256 of every file that is loaded, in order: it follows their content alone.

        Raises BackboneUnavailable naming one that is missing or changes now.
        """
        digest = hashlib.sha256()
        for name, path in sorted(self.files.items()):
            try:
                digest.update(f"{name}\0{sha256(path)}\n".encode())
            except OSError as error:
                raise BackboneUnavailable(f"backbone {self.name}: {path}: {error.strerror}") from error
        return digest.hexdigest()
