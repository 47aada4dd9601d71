"""scikit-learn's digits: 1,797 grey images of 8 x 8 pixels, values 0-16, part of that package."""

import hashlib
from functools import cache

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image
from sklearn.datasets import load_digits

from app.domain.dataset_uri import BUNDLED
from worker.datasets.base import Dataset, divide, in_memory
from worker.datasets.decode import fit, to_array
from worker.datasets.split import DIGITS_FRACTION, held_out

URI = "sklearn://digits"
SIDE = 8  # pixels


def read(*, image_size: int, channels: int) -> Dataset:
    """The digits with a fixed split: 75 % for training, 25 % held out. Resized bicubically unless
    `image_size` is 8.
    """
    pixels, labels = _arrays()
    names = [f"digits/{index}" for index in range(len(labels))]
    resized = np.stack([to_array(fit(Image.fromarray(image), image_size), channels) for image in pixels])
    train, test = divide(in_memory(resized, labels, names), held_out(names, labels, DIGITS_FRACTION))
    return Dataset(URI, BUNDLED["digits"], train, test, _digest(pixels, labels), side=SIDE, colour=False)


@cache
def _arrays() -> tuple[UInt8[np.ndarray, "n 8 8"], Int64[np.ndarray, " n"]]:
    flat, labels = map(np.asarray, load_digits(return_X_y=True))
    return np.rint(flat.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8), labels.astype(np.int64)


def _digest(pixels: np.ndarray, labels: np.ndarray) -> str:
    return hashlib.sha256(pixels.tobytes() + labels.astype("<i8").tobytes()).hexdigest()
