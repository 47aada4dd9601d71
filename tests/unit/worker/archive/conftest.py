import io
from collections.abc import Callable

import numpy as np
import pytest

from app.domain.spec.job_spec import DistillationSpec
from worker.archive.contents import ArchiveContents
from worker.archive.spool import PngSpool

SUMMARY = {
    "protocol": "small",
    "unit": "percent",
    "arms": [
        {
            "arm": "random_real",
            "label": "random real images",
            "mean": 94.0,
            "sd": 1.0,
            "ci95": [92.0, 96.0],
            "n": 3,
            "images": 6,
        },
        {"arm": "guided", "label": "guided (this set)", "mean": 97.0, "sd": None, "ci95": None, "n": 3, "images": 6},
    ],
    "differences": [{"arm": "random_real", "mean": 3.0, "ci95": [2.0, 4.0]}],
    "verdict": "The guided set beats random real images by 3.0 points.",
}

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), dtype=np.uint8)


def spooled(images: np.ndarray) -> PngSpool:
    spool = PngSpool(io.BytesIO())
    for pixels in images:
        spool.append(pixels)
    return spool


@pytest.fixture
def contents() -> Callable[..., ArchiveContents]:
    """Three classes of two 8 x 8 images, class and rank order unlike index order; keywords replace parts."""

    def make(**changes) -> ArchiveContents:
        parts = {
            "spec": DistillationSpec(dataset_uri="sklearn://digits", ipc=2),
            "classes": ("tulip", "daisy", "a/b"),
            "images": spooled(PIXELS),
            "labels": np.array([0, 0, 1, 1, 2, 2]),
            "indices": np.array([0, 1, 0, 1, 0, 1]),
            "seeds": np.arange(6) + 2**62,
            "ranks": np.array([1, 0, 0, 1, 1, 0]),
            "distances": {"mean_distance": np.linspace(0, 1, 6, dtype=np.float32)},
            "summary": SUMMARY,
            "provenance": {
                "backbone": {"name": "embedded/digits", "revision": "0f"},
                "dataset_digest": "ab",
                "scheduler": "ddpm",
            },
        }
        return ArchiveContents(**(parts | changes))

    return make
