"""A small disk of its own for a folder, to be filled."""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

BYTES = 64 << 20
CHUNK_BYTES = 1 << 16


class SmallDisk:
    """A tmpfs of `BYTES` mounted on a folder; `why_not` says why this machine does not permit one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        mount = [shutil.which("mount") or "mount", "-t", "tmpfs", "-o", f"size={BYTES}", "tmpfs", str(folder)]
        done = subprocess.run(mount, capture_output=True, text=True)
        self.why_not = done.stderr.strip() if done.returncode else None

    def fill(self) -> None:
        """Leave not a byte, and drop what is cached, so that it must be written again."""
        for kept in self._folder.rglob("*.npy"):
            kept.unlink(missing_ok=True)
        with suppress(OSError), (self._folder / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(os.urandom(CHUNK_BYTES))

    def free(self) -> None:
        (self._folder / "filler").unlink(missing_ok=True)

    def unmount(self) -> None:
        if self.why_not is None:
            subprocess.run([shutil.which("umount") or "umount", "--lazy", str(self._folder)], check=False)
