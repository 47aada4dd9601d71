from pathlib import Path

import pytest
from PIL import Image

from app.domain.backbone import BackboneInfo, Family
from app.domain.job import TaskKind, WarningCode
from tests.datasets import loaded
from worker.stages.prepare import prepare
from worker.stages.resolution import resolution_warnings


def dataset(root: Path, size: int, colour: str) -> Path:
    for name in ("3", "7"):
        (root / name).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (size, size + 5), colour).save(root / name / f"{i}.png")
    return root


def drawing(name: str, image_size: int, channels: int) -> BackboneInfo:
    return BackboneInfo(name=name, family=Family.DIT, block_names=(), image_size=image_size, channels=channels)


@pytest.mark.parametrize(
    ("size", "colour", "backbone_size", "channels", "doubted"),
    [
        (28, "grey", 8, 1, True),  # MNIST on the digits that ship
        (16, "grey", 8, 1, True),
        (15, "grey", 8, 1, False),
        (8, "grey", 8, 1, False),
        (8, "red", 8, 1, True),
        (8, "red", 8, 3, False),
        (96, "red", 32, 3, False),  # a size that is commonly shrunk to
        (96, "red", 16, 3, True),
    ],
)
def test_a_small_backbone_is_doubted_for_large_or_coloured_images(tmp_path, size, colour, backbone_size, channels, doubted):
    backbone = drawing("some", backbone_size, channels)
    warnings = resolution_warnings(loaded(dataset(tmp_path / "set", size, colour)), backbone)
    assert [one.code for one in warnings] == [WarningCode.DATASET_DOUBTFUL] * doubted


def test_the_warning_names_both_sizes(tmp_path):
    backbone = drawing("embedded/digits", 8, 1)
    (warning,) = resolution_warnings(loaded(dataset(tmp_path / "set", 28, "red")), backbone)
    for part in ("28 pixels (median) in colour", "embedded/digits draws 8 x 8 in grey", "dapple train"):
        assert part in warning.message


def test_preparing_a_job_gives_the_warning(job, tmp_path):
    uri = dataset(tmp_path / "set", 28, "grey").as_uri()
    assert len(job(dataset_uri=uri).run(prepare, TaskKind.PREPARE).warnings) == 1
    assert not job().run(prepare, TaskKind.PREPARE).warnings
