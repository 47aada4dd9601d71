"""A dataset from the files of a folder or zip, every one of them decoded once before it is trusted."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from app.domain.errors import DatasetRejected
from app.domain.image_folder import TRAIN, Item, arrange
from worker.datasets.base import Dataset, Split, divide, require_images
from worker.datasets.decode import BadImage, decode
from worker.datasets.readers.files import Files
from worker.datasets.split import held_out

MAX_KEPT_BYTES = 512 << 20
NAMED_BAD_FILES = 5

OnFile = Callable[[int, int], None]


@dataclass(frozen=True)
class Pixels:
    """The form every image is decoded to: `size` pixels a side, 1 or 3 `channels`."""

    size: int
    channels: int

    @property
    def bytes_per_image(self) -> int:
        return self.size * self.size * self.channels

    def decode(self, content: bytes, name: str) -> np.ndarray:
        return decode(content, name, image_size=self.size, channels=self.channels)


def read(
    files: Files, uri: str, pixels: Pixels, *, holdout_fraction: float, max_bad_fraction: float, on_file: OnFile | None = None
) -> Dataset:
    """The images in `files`; their own test split if there is one, else `holdout_fraction` of each class.

    `on_file(done, total)` is called after each file. Raises DatasetRejected if more than `max_bad_fraction` of the files
    cannot be decoded, naming the first of them, or if a class is left without a training image, naming it.
    """
    items = arrange(files.paths)
    checked = _check(files, items, pixels, on_file)
    _reject_if_too_many(checked.bad, len(items), max_bad_fraction)
    good = [item for item, kept in zip(items, checked.is_good, strict=True) if kept]
    classes = tuple(sorted({item.class_name for item in items}))
    label_of = {name: label for label, name in enumerate(classes)}
    labels = np.array([label_of[item.class_name] for item in good], dtype=np.int64)
    everything = Split(labels, tuple(item.name for item in good), _reader(files, good, pixels, checked.kept))
    train, test = divide(everything, _is_test(good, labels, holdout_fraction))
    dataset = Dataset(uri, classes, train, test, checked.digest, checked.bad)
    require_images(dataset, 1)
    return dataset


@dataclass(frozen=True)
class _Checked:
    is_good: list[bool]
    kept: list[np.ndarray] | None
    bad: tuple[str, ...]
    digest: str


def _check(files: Files, items: Sequence[Item], pixels: Pixels, on_file: OnFile | None) -> _Checked:
    digest = hashlib.sha256()
    sizes = dict(zip(files.paths, files.sizes, strict=True))
    keep = len(items) * pixels.bytes_per_image <= MAX_KEPT_BYTES
    is_good, kept, bad = [], [], []
    for done, item in enumerate(items, start=1):
        content = b""
        try:
            content = files.read(item.path)
            image = pixels.decode(content, item.name)
            kept += [image] if keep else []
            is_good.append(True)
        except BadImage as error:
            is_good.append(False)
            bad.append(str(error))
        identity = f"{item.name}\0{sizes[item.path]}\0{hashlib.sha256(content).hexdigest()}\n"
        digest.update(identity.encode("utf-8", "surrogateescape"))
        if on_file is not None:
            on_file(done, len(items))
    return _Checked(is_good, kept if keep else None, tuple(bad), digest.hexdigest())


def _reject_if_too_many(bad: Sequence[str], total: int, max_bad_fraction: float) -> None:
    if len(bad) > max_bad_fraction * total:
        first = "; ".join(bad[:NAMED_BAD_FILES]) + ("; …" if len(bad) > NAMED_BAD_FILES else "")
        raise DatasetRejected(f"{len(bad)} of {total} images cannot be used (allowed: {max_bad_fraction:.1%}): {first}")


def _reader(
    files: Files, items: Sequence[Item], pixels: Pixels, kept: list[np.ndarray] | None
) -> Callable[[np.ndarray], np.ndarray]:
    shape = (pixels.size, pixels.size, pixels.channels)
    if kept is not None:
        together = np.array(kept, dtype=np.uint8).reshape(-1, *shape)
        return lambda indices: together[indices]

    def read_now(indices: np.ndarray) -> np.ndarray:
        decoded = [pixels.decode(files.read(items[i].path), items[i].name) for i in indices]
        return np.array(decoded, dtype=np.uint8).reshape(-1, *shape)

    return read_now


def _is_test(items: Sequence[Item], labels: np.ndarray, holdout_fraction: float) -> np.ndarray:
    if any(item.split not in (None, TRAIN) for item in items):
        return np.array([item.split != TRAIN for item in items], dtype=bool)
    return held_out([item.name for item in items], labels, holdout_fraction)
