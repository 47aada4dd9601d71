"""The folders are the architecture; the contracts are in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "diffusers", "transformers", "numpy", "PIL", "pyarrow", "sklearn", "celery", "worker")


def test_every_module_keeps_to_its_layer():
    result = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
def test_help_is_printed_without_the_workers_libraries():
    program = f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r})); from app.cli import main; main(['--help'])"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "train" in result.stdout
