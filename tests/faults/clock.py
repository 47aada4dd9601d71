"""A wrong clock for a process: a small library, compiled here, that it preloads."""

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


def compiled(folder: Path) -> Path | None:
    """The library; None where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "clock.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE)], check=True)
    return library


def wrong_by(seconds: int, library: Path) -> dict[str, str]:
    """The environment of a process whose clock is `seconds` ahead."""
    return {"LD_PRELOAD": str(library), "WRONG_SECONDS": str(seconds)}
