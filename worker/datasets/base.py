"""Labelled images, independent of their source."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import overload

import numpy as np
from jaxtyping import Int64, UInt8

from app.domain.errors import DatasetRejected

Images = UInt8[np.ndarray, "k height width channels"]
Indices = Sequence[int] | np.ndarray


@dataclass(frozen=True, eq=False)
class Split:
    """Images with labels. `images` decodes the pixels on demand.

    `labels` [n] int64 are positions in the dataset's `classes`. `names` [n] identify the images and
    are equal in every load. `read` turns positions into pixels.
    """

    labels: Int64[np.ndarray, " n"]
    names: Sequence[str]
    read: Callable[[np.ndarray], np.ndarray]

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, indices: Indices) -> Images:
        """Pixels 0-255 of the images at `indices` [k], in that order, at the size and channels the
        dataset was loaded with.

        Raises DatasetRejected naming the file if it can no longer be read.
        """
        return self.read(np.asarray(indices, dtype=np.int64))

    def subset(self, indices: Indices) -> "Split":
        """A split of the images at `indices` [k], in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return Split(self.labels[chosen], _Chosen(self.names, chosen), lambda positions: self.read(chosen[positions]))


class _Chosen(Sequence[str]):
    """The names at `positions`, read when they are asked for."""

    def __init__(self, names: Sequence[str], positions: np.ndarray) -> None:
        self._names, self._positions = names, positions

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return _Chosen(self._names, self._positions[index])
        return self._names[int(self._positions[index])]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split over the same classes. Label i is `classes[i]`; classes are
    sorted by name.

    `digest` (SHA-256, hex) identifies the images and their classes, independent of image size and
    splits; `class_digests` does so for each class. `bad_count` files could not be decoded;
    `bad_files` has the first of them, as "name: reason". `left_out` and `doubts` are phrases about
    other files that were not read, and about the interpretation of the layout. `unread` are the
    classes that were not chosen. `side` is the median of the short sides of the files' images in
    pixels, `colour` whether any has colours. `leaked` test images show a picture that the
    training split has too; `leaks` names the first. `revision` names the version of
    the source, if the source keeps versions.
    """

    uri: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    digest: str
    bad_files: tuple[str, ...] = ()
    bad_count: int = 0
    class_digests: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    side: int = 0
    colour: bool = True
    leaked: int = 0
    leaks: tuple[str, ...] = ()
    revision: str | None = None

    def digest_of(self, class_name: str) -> str:
        """The digest of a class's images. It is equal in every job that reads the class, whatever
        other classes it reads.
        """
        return self.class_digests.get(class_name, self.digest)


def in_memory(pixels: Images, labels: np.ndarray, names: Sequence[str]) -> Split:
    """A split with decoded pixels [n, height, width, channels]."""
    return Split(labels.astype(np.int64), tuple(names), lambda indices: pixels[indices])


def divide(everything: Split, is_test: np.ndarray) -> tuple[Split, Split]:
    """The images where `is_test` [n] is false, then those where it is true."""
    return everything.subset(np.flatnonzero(~is_test)), everything.subset(np.flatnonzero(is_test))


def require_images(dataset: Dataset, count: int) -> None:
    """Raises DatasetRejected naming the first class with fewer than `count` training images."""
    sizes = np.bincount(dataset.train.labels, minlength=len(dataset.classes))
    for name, size in zip(dataset.classes, sizes, strict=True):
        if size < count:
            told = f"class {name!r} has {size} training images beside those held out; at least {count} are needed"
            raise DatasetRejected(told)


def select(dataset: Dataset, classes: Sequence[str] | None) -> Dataset:
    """The dataset with only `classes`, which it must have, relabelled 0..k-1 in the given order.

    None returns it unchanged.
    """
    if classes is None:
        return dataset
    return relabelled(dataset, [dataset.classes.index(name) for name in classes])


def relabelled(dataset: Dataset, keep: Sequence[int]) -> Dataset:
    """The dataset with only the classes at positions `keep`, relabelled 0..k-1 in that order."""
    new_label = np.full(len(dataset.classes), -1, dtype=np.int64)
    new_label[np.asarray(keep, dtype=np.int64)] = np.arange(len(keep))
    train, test = (_relabelled(split, new_label) for split in (dataset.train, dataset.test))
    return replace(dataset, classes=tuple(dataset.classes[i] for i in keep), train=train, test=test)


def _relabelled(split: Split, new_label: np.ndarray) -> Split:
    kept = split.subset(np.flatnonzero(new_label[split.labels] >= 0))
    return replace(kept, labels=new_label[kept.labels])
