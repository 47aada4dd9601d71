"""The folder of a backbone: its facts, and the files that a worker loads."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.backbones.regular_files import sha256
from app.domain.backbone import BackboneInfo
from app.domain.errors import BackboneUnavailable


@dataclass(frozen=True, kw_only=True)
class BackboneFolder:
    """A diffusion model in the folder format of diffusers.

    `files` are exactly the files that a worker loads. Its keys are the paths below the folder where
    the library looks for them; weights of another variant may have another path.
    `weights_bytes` is the total size of the weights.
    """

    info: BackboneInfo
    path: Path
    weights_bytes: int
    files: Mapping[str, Path] = field(repr=False)

    @property
    def name(self) -> str:
        return self.info.name

    def files_of(self, part: str) -> Mapping[str, Path]:
        """The loaded files of a sub-folder, by their names in it."""
        start = f"{part}/"
        return {name.removeprefix(start): path for name, path in self.files.items() if name.startswith(start)}

    def revision(self) -> str:
        """SHA-256 over names and contents of all loaded files, in order, independent of file times.

        Raises BackboneUnavailable that names a file that is missing or changes meanwhile.
        """
        digest = hashlib.sha256()
        for name, path in sorted(self.files.items()):
            try:
                digest.update(f"{name}\0{sha256(path)}\n".encode())
            except OSError as error:
                raise BackboneUnavailable(f"backbone {self.name}: {path}: {error.strerror}") from error
        return digest.hexdigest()
