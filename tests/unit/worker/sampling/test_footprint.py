import numpy as np
import pytest

from tests.unit.worker import tiny
from worker.datasets.base import Dataset, in_memory
from worker.disk_cache import DiskCache
from worker.sampling.footprint import class_bytes
from worker.sampling.targets import Preparing, targets_for

SIZES = {"0": 3, "1": 30}


@pytest.fixture
def dataset():
    labels = np.repeat(np.arange(2), list(SIZES.values()))
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8, 1), dtype=np.uint8)
    split = in_memory(pixels, labels, [str(number) for number in range(len(labels))])
    return Dataset("file:///x", tuple(SIZES), split, split, "d")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"guidance": {"tap": [1, 3], "features": "tokens"}},
        {"guidance": {"features": "pooled", "start": 0.5}},
        {"guidance": {"projection": 64}, "reference": {"count": 8, "probes": True}},
        {"guidance": {"objective": "mode"}},
        {"reference": {"count": 8, "probes": True}, "sampling": {"scheduler": "ddim", "steps": 2}},
    ],
    ids=str,
)
def test_what_is_foreseen_is_what_the_features_then_take(fields, dataset, tmp_path):
    backbone = tiny.backbone()
    spec = tiny.spec(**{"sampling": {"scheduler": "ddim", "steps": 4}, "reference": {"count": 8}} | fields)
    targets = targets_for(spec, backbone, dataset, dataset.classes, Preparing(DiskCache(tmp_path, 1 << 30)))
    assert class_bytes(spec, backbone, dataset) == [target.reference.about["bytes"] for target in targets]
