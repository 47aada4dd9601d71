from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def flowers(tmp_path) -> Path:
    """Three classes of eight distinct grey images of 8 x 8 pixels."""
    root = tmp_path / "flowers"
    generator = np.random.default_rng(0)
    for name in ("rose", "daisy", "tulip"):
        (root / name).mkdir(parents=True)
        for index in range(8):
            pixels = generator.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root
