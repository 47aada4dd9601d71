"""What the files of this repository tell their readers to run."""

import re
import subprocess
from pathlib import Path

from app.distribution import DISTRIBUTION, install_extra

ROOT = Path(__file__).parents[2]
STRANGER = re.compile(r"(pip3?|uv|uvx|pipx)\s+(pip\s+)?(install|add|run)\b[^\n&|;#`]*?['\"\s]dapple(?![-\w/.])|\bdapple\[")


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()  # noqa: S607 - the PATH knows git
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_the_pattern_finds_the_stranger_and_not_us() -> None:
    found = ["pip install dapple", "pip install 'dapple[s3]'", "workers: dapple[worker]", "uv add dapple"]
    assert all(map(STRANGER.search, found))
    ours = ["pip install '.[s3]'", f"pip install {DISTRIBUTION}", "pip install -e . && dapple up", install_extra("s3")]
    assert not any(map(STRANGER.search, ours))


def test_nothing_tells_to_install_the_other_program_called_dapple() -> None:
    advice: list[str] = []
    for path in tracked():
        if path == Path(__file__) or path.suffix in (".safetensors", ".png"):
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if STRANGER.search(line):
                advice.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert advice == []
