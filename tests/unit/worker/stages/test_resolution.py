from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from PIL import Image

from app.domain.dataset_uri import parse
from app.domain.job import TaskKind, WarningCode
from worker.backbones.base import Backbone
from worker.stages.prepare import prepare
from worker.stages.resolution import resolution_warnings


def dataset(root: Path, size: int, colour: str) -> Path:
    for name in ("3", "7"):
        (root / name).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (size, size + 5), colour).save(root / name / f"{i}.png")
    return root


def drawing(name: str, image_size: int, channels: int) -> Backbone:
    return cast(Backbone, SimpleNamespace(name=name, image_size=image_size, channels=channels))


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
    uri = parse(dataset(tmp_path / "set", size, colour).as_uri())
    warnings = resolution_warnings(uri, (tmp_path,), backbone)
    assert [one.code for one in warnings] == [WarningCode.DATASET_DOUBTFUL] * doubted


def test_the_warning_names_both_sizes(tmp_path):
    backbone = drawing("embedded/digits", 8, 1)
    (warning,) = resolution_warnings(parse(dataset(tmp_path / "set", 28, "red").as_uri()), (tmp_path,), backbone)
    for part in ("28 pixels (median) in colour", "embedded/digits draws 8 x 8 in grey", "dapple train"):
        assert part in warning.message


def test_preparing_a_job_gives_the_warning(job, tmp_path):
    uri = dataset(tmp_path / "set", 28, "grey").as_uri()
    assert len(job(dataset_uri=uri).run(prepare, TaskKind.PREPARE).warnings) == 1
    assert not job().run(prepare, TaskKind.PREPARE).warnings
