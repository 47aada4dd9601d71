"""Read an imported dataset, a class at a time, through a cache of decoded pixels."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, overload

import numpy as np
import PIL
import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from jaxtyping import UInt8

from app.datasets.image_folder import Item
from app.domain.errors import ArtifactDamaged, DatasetRejected
from app.domain.ports import ArtifactStore
from worker.datasets.base import Dataset, Images, Split
from worker.datasets.decode import Pixels
from worker.datasets.examine import examine
from worker.datasets.importing import PREFIX
from worker.datasets.shards.index import TEST, TRAIN, ClassEntry, DatasetIndex, RowGroup
from worker.disk_cache import DiskCache
from worker.progress import Heartbeat, no_heartbeat

FORMAT = 1
SCAN_DIGITS = 16
HELD_CLASSES = 8  # that are mapped at a time
PIXELS, DIGESTS = "pixels.npy", "sha256.npy"

log = structlog.get_logger()


@dataclass(frozen=True, eq=False)
class ClassPixels:
    """The decoded images of a class in one split [n, size, size, channels], and their SHA-256."""

    images: UInt8[np.ndarray, "n size size channels"]
    sha256: UInt8[np.ndarray, "n 32"]


class ImportedImages:
    """Decodes the classes of an imported dataset on demand, each once per machine and size.

    `heartbeat` is called while it decodes, and may raise to stop. Every method raises
    StorageUnavailable, and ArtifactDamaged if a shard is damaged.
    """

    def __init__(
        self, index: DatasetIndex, store: ArtifactStore, cache: DiskCache, pixels: Pixels, heartbeat: Heartbeat = no_heartbeat
    ) -> None:
        self._index, self._store, self._cache, self._pixels, self._heartbeat = index, store, cache, pixels, heartbeat
        self._held: OrderedDict[tuple[int, str], ClassPixels] = OrderedDict()

    @property
    def form(self) -> tuple[int, int, int]:
        """The shape of an image."""
        return self._pixels.size, self._pixels.size, self._pixels.channels

    def of_class(self, label: int, split: str) -> ClassPixels:
        key = label, split
        if key not in self._held:
            self._held[key] = self._found(self._index.classes[label], split)
            if len(self._held) > HELD_CLASSES:
                self._held.popitem(last=False)
        self._held.move_to_end(key)
        return self._held[key]

    def _found(self, entry: ClassEntry, split: str) -> ClassPixels:
        key = f"{self._scan}-{_digest([entry.digest, split, self._form])}"
        try:
            return self._cache.read(key, lambda folder: self._make(entry, split, folder), _open, self._heartbeat)
        except OSError as error:
            log.warning("dataset.not_cached", key=key, reason=str(error))
        decoded = list(self._decoded(entry, split))
        images = np.array([pixels for pixels, _ in decoded], np.uint8).reshape(-1, *self.form)
        return ClassPixels(images, np.array([np.frombuffer(sha256, np.uint8) for _, sha256 in decoded]))

    @property
    def _form(self) -> list[object]:
        return [FORMAT, self._pixels.size, self._pixels.channels, PIL.__version__]

    @property
    def _scan(self) -> str:
        return _digest([self._index.digest, self._form])[:SCAN_DIGITS]

    def _make(self, entry: ClassEntry, split: str, folder: Path) -> None:
        """Write the entry image by image. Memory does not grow with the class."""
        count = entry.split(split).images
        with (folder / PIXELS).open("wb") as images, (folder / DIGESTS).open("wb") as digests:
            _begin(images, (count, *self.form))
            _begin(digests, (count, hashlib.sha256().digest_size))
            for pixels, sha256 in self._decoded(entry, split):
                images.write(pixels.tobytes())
                digests.write(sha256)

    def _decoded(self, entry: ClassEntry, split: str) -> Iterator[tuple[np.ndarray, bytes]]:
        """The pixels and the SHA-256 of each image, in the order of the shards."""
        count = 0
        for rows in self._rows(entry.split(split).groups):
            items = [Item(str(number), name, entry.name, split) for number, name in enumerate(rows.names)]
            with closing(examine(rows, items, self._pixels, self._heartbeat)) as results:
                for examined in results:
                    if examined.picture is None:
                        raise examined.fault or DatasetRejected(f"an image of class {entry.name!r} cannot be decoded")
                    yield examined.picture.pixels, examined.sha256
                    count += 1
            self._heartbeat()
        if count != entry.split(split).images:
            raise ArtifactDamaged(f"the shards of class {entry.name!r} have {count} images, not {entry.split(split).images}")

    def _rows(self, groups: Sequence[RowGroup]) -> Iterator["_Rows"]:
        """The row groups in order."""
        for shard, those in groupby(groups, key=lambda group: group.shard):
            key = f"{PREFIX}{self._index.digest}/{shard}"
            with self._store.open(key) as stream:
                try:
                    file = pq.ParquetFile(stream, pre_buffer=False)
                    for group in those:
                        yield _Rows(file.read_row_group(group.number, columns=["image"]).column("image").combine_chunks())
                except (pa.ArrowException, ValueError) as error:
                    raise ArtifactDamaged(f"{key} is damaged: {error}") from error


class _Rows:
    """The images of a row group, as files whose paths are their numbers."""

    def __init__(self, images: pa.StructArray) -> None:
        self._contents = images.field("bytes")
        self.names: list[str] = images.field("path").to_pylist()

    def size(self, path: str) -> int:
        return len(self._contents[int(path)].as_buffer())

    def read(self, path: str) -> bytes:
        return self._contents[int(path)].as_py()


class _Names(Sequence[str]):
    """The SHA-256 of each image of a split, hex, read a class at a time."""

    def __init__(self, images: ImportedImages, split: str, starts: np.ndarray) -> None:
        self._images, self._split, self._starts = images, split, starts

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        label = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._images.of_class(label, self._split).sha256[index - self._starts[label]].tobytes().hex()


def imported_dataset(
    uri: str,
    index: DatasetIndex,
    store: ArtifactStore,
    cache: DiskCache,
    pixels: Pixels,
    heartbeat: Heartbeat = no_heartbeat,
) -> Dataset:
    """The imported dataset with all its classes; pixels are decoded on demand.

    The images of a class are ordered by their SHA-256.
    """
    images = ImportedImages(index, store, cache, pixels, heartbeat)
    train, test = (_split(index, images, split) for split in (TRAIN, TEST))
    report = index.report
    return Dataset(
        uri,
        index.names,
        train,
        test,
        index.digest,
        report.bad_files,
        report.bad_count,
        {entry.name: entry.digest for entry in index.classes},
        left_out=report.left_out,
        doubts=report.doubts,
        unread=report.unread,
        side=report.side,
        colour=report.colour,
        leaked=report.leaked,
        leaks=report.leaks,
    )


def _split(index: DatasetIndex, images: ImportedImages, split: str) -> Split:
    counts = index.counts(split)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    labels = np.repeat(np.arange(len(counts)), counts)

    def read(positions: np.ndarray) -> Images:
        asked = np.unique(labels[positions])
        if len(asked) == 1:
            (label,) = asked.tolist()
            return images.of_class(label, split).images[positions - starts[label]]
        found = np.empty((len(positions), *images.form), np.uint8)
        for label in asked:
            here = labels[positions] == label
            found[here] = images.of_class(int(label), split).images[positions[here] - starts[label]]
        return found

    return Split(labels, _Names(images, split, starts), read)


def _begin(file: IO[bytes], shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _open(folder: Path) -> ClassPixels:
    images, digests = (np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in (PIXELS, DIGESTS))
    if images.dtype != np.uint8 or len(images) != len(digests):
        raise ValueError(f"{PIXELS} holds {images.dtype} {images.shape}")
    return ClassPixels(images, digests)


def _digest(identity: object) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
