import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.domain.dataset_uri import parse
from app.domain.errors import DatasetRejected, InvalidSpec
from worker.datasets.survey import MOST_SURVEYED, Survey, survey


def picture(size: tuple[int, int], colour: str = "grey", kind: str = "PNG", mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size, colour).save(stream, kind)
    return stream.getvalue()


def written(root: Path, **classes: list[bytes]) -> Path:
    for name, contents in classes.items():
        (root / name).mkdir(parents=True)
        for i, content in enumerate(contents):
            (root / name / f"{i}.png").write_bytes(content)
    return root


def surveyed(path: Path) -> Survey:
    return survey(parse(path.as_uri()), [path.parent])


def test_the_size_is_the_median_of_the_short_sides(tmp_path):
    images = [picture((28, 40)), picture((30, 28)), picture((500, 400))]
    assert surveyed(written(tmp_path / "set", a=images, b=[picture((28, 28))])) == Survey(("a", "b"), 28, colour=False)


def test_one_coloured_image_makes_the_set_coloured(tmp_path):
    grey, red = picture((8, 8), "grey"), picture((8, 8), "red")
    assert not surveyed(written(tmp_path / "grey", a=[grey] * 3, b=[picture((8, 8), "grey", mode="L")])).colour
    assert surveyed(written(tmp_path / "red", a=[grey, grey], b=[grey, red])).colour


def test_grey_photos_stored_in_colour_by_jpeg_are_grey(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 1), dtype=np.uint8).repeat(3, axis=2)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "JPEG", quality=50)
    assert not surveyed(written(tmp_path / "set", a=[stream.getvalue()])).colour


def test_damaged_images_are_passed_over_unless_all_are(tmp_path):
    assert surveyed(written(tmp_path / "some", a=[b"no image", picture((9, 9))])).side == 9
    with pytest.raises(DatasetRejected, match=r"none of 1 images .* a/0\.png"):
        surveyed(written(tmp_path / "all", a=[b"no image"]))


def test_no_more_than_a_sample_is_read(tmp_path):
    contents = [picture((8, 8)), *[b"no image"] * (2 * MOST_SURVEYED), picture((8, 8))]
    assert surveyed(written(tmp_path / "set", a=contents)).side == 8  # the first and the last are among them


def test_a_zip_is_surveyed_as_a_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        file.writestr("a/0.png", picture((12, 20), "red"))
    assert surveyed(tmp_path / "set.zip") == Survey(("a",), 12, colour=True)


def test_the_digits_need_no_look():
    assert survey(parse("sklearn://digits"), []) == Survey(tuple("0123456789"), 8, colour=False)


def test_a_folder_outside_the_roots_is_refused(tmp_path):
    with pytest.raises(InvalidSpec, match="outside"):
        survey(parse(written(tmp_path / "set", a=[picture((8, 8))]).as_uri()), [tmp_path / "other"])
