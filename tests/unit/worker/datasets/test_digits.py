import tempfile
from pathlib import Path

import numpy as np
import pytest

from tests.datasets import loaded
from worker.datasets.base import in_memory
from worker.datasets.readers import digits

BESIDE = Path(tempfile.gettempdir()) / "none"
pytestmark = pytest.mark.slow


def digits_at(image_size=8, channels=1, holdout_fraction=0.25):
    return loaded(
        "sklearn://digits", image_size=image_size, channels=channels, holdout_fraction=holdout_fraction, beside=BESIDE
    )


def test_the_split_is_the_same_whatever_the_job_asks_for():
    half, tenth = (digits_at(holdout_fraction=fraction, image_size=size).test.names for fraction, size in ((0.5, 8), (0.1, 16)))
    assert list(half) == list(tenth)


def test_three_quarters_are_for_training_and_none_is_in_both_splits():
    dataset = digits_at()
    assert (len(dataset.train), len(dataset.test)) == (1347, 450)
    assert set(dataset.train.names).isdisjoint(dataset.test.names)


@pytest.mark.parametrize("fill", [0, 255])
def test_the_training_split_never_sees_a_held_out_image(monkeypatch, fill):
    honest = digits_at()
    pixels, labels = digits._arrays()
    replaced = pixels.copy()
    replaced[[int(name.split("/")[1]) for name in honest.test.names]] = fill
    monkeypatch.setattr(digits, "_arrays", lambda: (replaced, labels))
    everything = np.arange(len(honest.train))
    assert np.array_equal(digits_at().train.images(everything), honest.train.images(everything))


def test_values_span_the_whole_byte_range():
    pixels = digits_at().train.images(np.arange(1347))
    assert (pixels.min(), pixels.max(), pixels.dtype) == (0, 255, np.uint8)


@pytest.mark.parametrize(("size", "channels"), [(8, 3), (32, 1)])
def test_images_come_at_the_size_and_channels_asked_for(size, channels):
    assert digits_at(size, channels).test.images([0, 5]).shape == (2, size, size, channels)


def test_the_digest_does_not_depend_on_the_size():
    assert digits_at(16, 3).digest == digits_at().digest


def test_a_subset_of_a_subset_keeps_pixels_labels_and_names_together():
    pixels = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1)
    split = in_memory(pixels, np.arange(5), [str(i) for i in range(5)]).subset([4, 2, 0]).subset([2, 0])
    assert split.images([0, 1]).ravel().tolist() == [0, 4] == split.labels.tolist() == [int(name) for name in split.names]
