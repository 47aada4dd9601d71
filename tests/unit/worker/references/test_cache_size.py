import numpy as np
import pytest

from tests.unit.worker import tiny
from worker.datasets.base import Dataset, in_memory
from worker.disk_cache import DiskCache
from worker.references.cache_size import class_bytes
from worker.references.targets import Reading, targets_for
from worker.stages.job_plans import class_images, reference_plan

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
@pytest.mark.slow
def test_what_is_foreseen_is_what_the_features_then_take(fields, dataset, tmp_path):
    backbone = tiny.backbone()
    spec = tiny.spec(**{"sampling": {"scheduler": "ddim", "steps": 4}, "reference": {"count": 8}} | fields)
    plan, classes = reference_plan(spec, backbone), class_images(spec, backbone, dataset, dataset.classes)
    targets = targets_for(plan, backbone, classes, ipc=spec.ipc, reading=Reading(DiskCache(tmp_path, 1 << 30)))
    foreseen = class_bytes(plan, backbone, SIZES.values(), classes[0].conditions)
    assert foreseen == [target.reference.report.bytes for target in targets]
