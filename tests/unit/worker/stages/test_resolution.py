from pathlib import Path

import pytest
from PIL import Image

from app.domain.backbone import BackboneInfo, Family
from app.domain.dataset_uri import parse
from app.domain.job import TaskKind, WarningCode
from worker.datasets import decode_pool
from worker.datasets.cache import Source
from worker.stages.prepare import prepare
from worker.stages.resolution import resolution_warnings


def dataset(root: Path, size: int, colour: str) -> Path:
    for name in ("3", "7"):
        (root / name).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (size, size + 5), colour).save(root / name / f"{i}.png")
    return root


def source(root: Path, **fields) -> Source:
    return Source(parse(root.as_uri()), (root.parent,), image_size=8, channels=1, holdout_fraction=0.25, **fields)


def go_on() -> None:
    pass


class Stop(Exception):
    pass


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
    warnings = resolution_warnings(source(dataset(tmp_path / "set", size, colour)), backbone, go_on)
    assert [one.code for one in warnings] == [WarningCode.DATASET_DOUBTFUL] * doubted


def test_the_warning_names_both_sizes(tmp_path):
    backbone = drawing("embedded/digits", 8, 1)
    (warning,) = resolution_warnings(source(dataset(tmp_path / "set", 28, "red")), backbone, go_on)
    for part in ("28 pixels (median) in colour", "embedded/digits draws 8 x 8 in grey", "dapple train"):
        assert part in warning.message


def test_preparing_a_job_gives_the_warning(job, tmp_path):
    uri = dataset(tmp_path / "set", 28, "grey").as_uri()
    assert len(job(dataset_uri=uri).run(prepare, TaskKind.PREPARE).warnings) == 1
    assert not job().run(prepare, TaskKind.PREPARE).warnings


def test_only_the_chosen_classes_are_looked_at(tmp_path):
    root = dataset(tmp_path / "set", 28, "grey")
    Image.new("RGB", (8, 8), "grey").save(root / "7" / "0.png")
    for number in range(1, 4):
        (root / "7" / f"{number}.png").unlink()
    backbone = drawing("some", 8, 1)
    assert [len(resolution_warnings(source(root, classes=(name,)), backbone, go_on)) for name in ("3", "7")] == [1, 0]


@pytest.mark.slow
def test_a_look_that_finds_no_usable_image_is_no_failure(tmp_path):
    root = dataset(tmp_path / "set", 28, "grey")
    assert resolution_warnings(source(root, max_pixels=100), drawing("some", 8, 1), go_on) == []
    assert resolution_warnings(source(tmp_path / "gone"), drawing("some", 8, 1), go_on) == []


def test_a_look_can_be_stopped_at_each_image(tmp_path):
    left = iter([None, None])

    def tick():
        if next(left, Stop) is Stop:
            raise Stop

    with pytest.raises(Stop):
        resolution_warnings(source(dataset(tmp_path / "set", 28, "grey")), drawing("some", 8, 1), tick)
    assert next(left, None) is None


@pytest.mark.slow
def test_a_look_decodes_in_the_children_that_read_the_dataset(tmp_path, monkeypatch):
    asked = []
    decoders = decode_pool.decoders
    monkeypatch.setattr("worker.datasets.survey.decoders", lambda most: asked.append(most) or decoders(most))
    resolution_warnings(source(dataset(tmp_path / "set", 28, "grey"), max_pixels=1000), drawing("some", 8, 1), go_on)
    assert set(asked) == {1000}
