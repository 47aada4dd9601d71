import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from worker.archive.spool import PngSpool


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)


def filled(images):
    spool = PngSpool(io.BytesIO())
    for pixels in images:
        spool.append(pixels)
    return spool


def test_every_image_is_read_back_as_it_came_in_any_order(images):
    spool = filled(images)
    assert (len(spool), spool.shape) == (5, (5, 4, 6, 3))
    assert np.array_equal(np.stack([spool[row] for row in (4, 0, 2)]), images[[4, 0, 2]])
    assert np.array_equal(np.stack([spool.in_order([4, 0, 2])[row] for row in range(3)]), images[[4, 0, 2]])


def test_grey_images_keep_their_channel():
    grey = np.arange(6, dtype=np.uint8).reshape(1, 2, 3, 1)
    assert np.array_equal(filled(grey)[0], grey[0])


def test_the_content_is_a_png_file_with_its_hash(images):
    spool = filled(images)
    content = spool.content(1)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), images[1])
    assert (spool.stored(1).sha256, spool.stored(1).size_bytes) == (hashlib.sha256(content).hexdigest(), len(content))


def test_images_may_come_after_some_were_read(images):
    spool = filled(images[:2])
    assert spool.content(0)
    spool.append(images[2])
    assert np.array_equal(spool[2], images[2])


def test_all_images_have_one_size(images):
    spool = filled(images)
    with pytest.raises(ValueError, match="among images of"):
        spool.append(images[0, :2])


def test_an_empty_spool_has_no_shape():
    with pytest.raises(ValueError, match="no images yet"):
        PngSpool(io.BytesIO()).shape  # noqa: B018 - the look is what raises
