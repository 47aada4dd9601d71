"""Read datasets that are arrays of pixels: IDX (the MNIST family), the binary version of CIFAR, and
npz.
"""

import io
import re
import struct
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from app.datasets.file_kinds import FileKind
from app.datasets.image_folder import Item
from app.datasets.image_folder.words import and_more
from app.domain.errors import DatasetRejected
from worker.datasets.catalogue import Catalogue, refuse_missing
from worker.datasets.decode import MAX_SIDE
from worker.datasets.formats.labels import ClassNames, class_text
from worker.datasets.formats.splits import role_of, splits_among
from worker.datasets.readers.files import SourceFiles, check_count
from worker.datasets.readers.tar_files import unpacked

CIFAR_SIDE = 32
CIFAR_PIXELS = 3 * CIFAR_SIDE * CIFAR_SIDE
CIFAR_NAMES = ("batches.meta.txt", "fine_label_names.txt")
CIFAR_BATCH = re.compile(r"(data_batch_\d+|test_batch|train|test)(\.bin)?")
LABEL_WORDS = ("labels", "label", "targets", "target", "y")
NAME_WORDS = ("class_names", "label_names", "classes", "names")
MOST_ARRAY_BYTES = 64 << 30


@dataclass(frozen=True, eq=False)
class Batch:
    """Images with labels. `name` says their split. `pixels` [n, height, width, channels] uint8."""

    name: str
    pixels: UInt8[np.ndarray, "n height width channels"]
    labels: np.ndarray


class ArrayFiles:
    """The images of batches as PNG files. A path is "number of the batch:position"."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches

    def size(self, path: str) -> int:
        return int(np.prod(self._batches[int(path.partition(":")[0])].pixels.shape[1:]))

    def read(self, path: str) -> bytes:
        batch, _, position = path.partition(":")
        pixels = np.ascontiguousarray(self._batches[int(batch)].pixels[int(position)])
        stream = io.BytesIO()
        Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(stream, "PNG")
        return stream.getvalue()


def arrays_catalogue(
    batches: Sequence[Batch], names: Sequence[str] | None = None, chosen: Collection[str] | None = None
) -> Catalogue:
    """The images of the batches. `names` are the names of the labels 0, 1, ...

    Raises InvalidSpec for a chosen class that no image has, and DatasetRejected for a label without
    a name.
    """
    check_count(sum(len(batch.labels) for batch in batches))
    class_names = ClassNames.agreed({"the list of class names": names} if names else {})
    labels = [[class_text(label, class_names) for label in batch.labels.tolist()] for batch in batches]
    splits = splits_among({batch.name: len(those) for batch, those in zip(batches, labels, strict=True)})
    kept = [
        (number, batch, those)
        for number, (batch, those) in enumerate(zip(batches, labels, strict=True))
        if batch.name in splits.of
    ]
    classes = tuple(sorted({label for _, _, those in kept for label in those if label is not None}))
    refuse_missing(None if chosen is None else list(chosen), classes)
    wanted = frozenset(classes if chosen is None else chosen)
    items = [
        Item(f"{number}:{position}", f"{batch.name}#{position}", label, splits.of[batch.name])
        for number, batch, those in kept
        for position, label in enumerate(those)
        if label in wanted
    ]
    return Catalogue(ArrayFiles(batches), items, classes, splits.tested, splits.left_out, splits.doubts)


def idx_batches(files: SourceFiles, kinds: Mapping[str, FileKind], scratch: Path) -> list[Batch]:
    """The pairs of images and labels among IDX files, some of them compressed.

    Raises DatasetRejected if a file is damaged, or images have no labels of their number.
    """
    arrays = {path: idx_array(path, _plain(files, path, kinds[path], scratch)) for path in kinds}
    images = {path: array for path, array in arrays.items() if array.ndim in (3, 4)}
    labels = {path: array for path, array in arrays.items() if array.ndim == 1}
    return [
        Batch(path, with_channels(path, pixels), _labels_for(path, len(pixels), labels))
        for path, pixels in sorted(images.items())
    ]


def idx_array(name: str, path: Path) -> np.ndarray:
    """The array of an IDX file of unsigned bytes. Raises DatasetRejected."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4 + 4 * 4)
    if len(head) < 8 or head[2] != 0x08:
        raise DatasetRejected(f"{name}: only IDX files of unsigned bytes are read")
    dimensions = head[3]
    if len(head) < 4 + 4 * dimensions:
        raise DatasetRejected(f"{name} is cut short")
    shape = struct.unpack(f">{dimensions}I", head[4 : 4 + 4 * dimensions])
    start = 4 + 4 * dimensions
    wanted = start + int(np.prod(shape, dtype=object))
    if wanted != size:
        raise DatasetRejected(f"{name} has {size:,} bytes, but its header describes {wanted:,}; copy or download it again")
    if 0 in shape:
        raise DatasetRejected(f"{name} is empty")
    return np.memmap(path, np.uint8, "r", offset=start, shape=shape)


def is_cifar(files: SourceFiles, path: str) -> bool:
    """Whether a file is a batch of the binary version of CIFAR, by its name and size."""
    return bool(CIFAR_BATCH.fullmatch(path.rpartition("/")[2])) and _label_bytes(files.size(path)) is not None


def cifar_batches(files: SourceFiles, paths: Sequence[str]) -> list[Batch]:
    """The batches of the binary version of CIFAR."""
    return [_cifar_batch(files, path) for path in sorted(paths)]


def cifar_names(files: SourceFiles, paths: Sequence[str]) -> list[str] | None:
    """The names of the classes, if one of these files lists them."""
    listed = [path for path in paths if path.rpartition("/")[2] in CIFAR_NAMES]
    if not listed:
        return None
    lines = files.read(listed[0]).decode("utf-8", "backslashreplace").splitlines()
    return [line.strip() for line in lines if line.strip()]


def npz_batches(path: Path, scratch: Path) -> tuple[list[Batch], list[str] | None]:
    """The pairs of images and labels in an npz, and the names of the classes if it has them.

    Raises DatasetRejected if an array holds objects, or images have no labels.
    """
    arrays = _npz_arrays(path, scratch)
    images = {name: array for name, array in arrays.items() if array.ndim in (3, 4) and array.dtype == np.uint8}
    odd = [name for name, array in arrays.items() if array.ndim in (3, 4) and array.dtype != np.uint8]
    if not images:
        why = (
            f"{and_more(odd)} has the dtype {arrays[odd[0]].dtype}; convert it to uint8"
            if odd
            else "none has the shape of images"
        )
        raise DatasetRejected(
            f"{path.name}: it must hold images as uint8 [n, height, width] or [n, height, width, channels]: {why}"
        )
    labels = {name: _flat(array) for name, array in arrays.items() if _flat(array).ndim == 1 and name not in NAME_WORDS}
    batches = [
        Batch(name, with_channels(name, pixels), _npz_labels(name, len(pixels), labels))
        for name, pixels in sorted(images.items())
    ]
    listed = next((arrays[name] for name in NAME_WORDS if name in arrays and arrays[name].dtype.kind in "US"), None)
    return batches, None if listed is None else [str(name) for name in listed.ravel()]


def with_channels(name: str, pixels: np.ndarray) -> UInt8[np.ndarray, "n height width channels"]:
    """The images with their channels last. Raises DatasetRejected for other numbers of channels."""
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    elif pixels.shape[3] not in (1, 3, 4) and pixels.shape[1] in (1, 3, 4):
        pixels = pixels.transpose(0, 2, 3, 1)
    if pixels.shape[3] not in (1, 3, 4) or not 1 <= max(pixels.shape[1:3]) <= MAX_SIDE:
        raise DatasetRejected(f"{name} has the shape {list(pixels.shape)}; images have 1, 3 or 4 channels")
    return pixels


def _plain(files: SourceFiles, path: str, kind: FileKind, scratch: Path) -> Path:
    local = files.local(path)
    return local if kind is FileKind.IDX else unpacked(local, kind, scratch / f"idx-{path.replace('/', '-')[-200:]}")


def _labels_for(path: str, count: int, labels: Mapping[str, np.ndarray]) -> np.ndarray:
    """The labels of the images at `path`: those of the same name but for the words images and
    labels, else the only ones of their split and number.
    """
    named = re.sub("images?", "labels", path).replace("idx3", "idx1")
    same = [name for name, those in labels.items() if len(those) == count and role_of(name) == role_of(path)]
    found = named if named in labels and len(labels[named]) == count else same[0] if len(same) == 1 else None
    if found is None:
        raise DatasetRejected(f"{path} has {count:,} images; which file has their labels? Put it beside them, as {named!r}")
    return np.asarray(labels[found])


def _label_bytes(size: int) -> int | None:
    """The bytes of label before each image: 1 in CIFAR-10; 2 in CIFAR-100, of which the second is
    the fine label; None if a file of this size is no batch.
    """
    return next((count for count in (1, 2) if size and size % (count + CIFAR_PIXELS) == 0), None)


def _cifar_batch(files: SourceFiles, path: str) -> Batch:
    count = _label_bytes(files.size(path)) or 1
    rows = np.memmap(files.local(path), np.uint8, "r").reshape(-1, count + CIFAR_PIXELS)
    pixels = rows[:, count:].reshape(-1, 3, CIFAR_SIDE, CIFAR_SIDE).transpose(0, 2, 3, 1)
    name = path if role_of(path) else f"train/{path}"
    return Batch(name, pixels, np.asarray(rows[:, count - 1]))


def _npz_arrays(path: Path, scratch: Path) -> dict[str, np.ndarray]:
    """The arrays by name, mapped from files that are unpacked into `scratch`."""
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            if sum(info.file_size for info in infos) > MOST_ARRAY_BYTES:
                raise DatasetRejected(f"{path.name} unpacks to more than {MOST_ARRAY_BYTES >> 30} GiB")
            for number, info in enumerate(infos):
                target = scratch / f"npz-{number}.npy"
                with archive.open(info) as member, target.open("wb") as file:
                    while part := member.read(1 << 20):
                        file.write(part)
                arrays[info.filename.removesuffix(".npy")] = np.load(target, mmap_mode="r", allow_pickle=False)
    except (EOFError, NotImplementedError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise DatasetRejected(f"{path.name} is not a readable npz: {error}") from error
    return arrays


def _npz_labels(name: str, count: int, labels: Mapping[str, np.ndarray]) -> np.ndarray:
    """The labels of an array of images: the array of their number and split whose name says so."""
    same = [other for other, those in labels.items() if len(those) == count and role_of(other) == role_of(name)]
    said = [other for other in same if set(re.split(r"[^a-z]+", other.casefold())) & set(LABEL_WORDS)]
    found = said if said else same
    if len(found) != 1:
        told = and_more(found) if found else "there is none of their number"
        raise DatasetRejected(f"{name!r} has {count:,} images; which array has their labels? {told}")
    those = labels[found[0]]
    if those.dtype.kind not in "iuUS":
        raise DatasetRejected(f"{found[0]!r} has the dtype {those.dtype}; labels are whole numbers or names")
    return np.asarray(those)


def _flat(array: np.ndarray) -> np.ndarray:
    """Labels [n, 1] as [n]."""
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
