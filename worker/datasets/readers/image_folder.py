"""Make a dataset from the files of a folder or zip. Decodes each file once before it is trusted."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from app.datasets.image_folder import TRAIN, Item, Listing, arrange, items_of, refuse_untrained
from app.domain.errors import DatasetRejected, FieldProblem, InvalidSpec
from app.domain.suggestions import MOST_NAMED, nearest
from worker.datasets.base import Dataset, Split, divide, require_images
from worker.datasets.decode import Pixels
from worker.datasets.readers.examine import examine, images_of
from worker.datasets.readers.files import Files
from worker.datasets.split import held_out
from worker.progress import ReportProgress, no_progress

MAX_KEPT_BYTES = 512 << 20
NAMED_BAD_FILES = 5


@dataclass(frozen=True)
class Choice:
    """The images to read, and those to hold out if the dataset has no test split.

    `classes`: None is all. `holdout_fraction` of each class is held out, but at least `least_kept`
    images are not. At most `max_bad_fraction` of the files may be undecodable.
    """

    holdout_fraction: float
    max_bad_fraction: float
    classes: Sequence[str] | None = None
    least_kept: int = 1


def read(
    files: Files, listing: Listing, uri: str, pixels: Pixels, choice: Choice, *, report: ReportProgress = no_progress
) -> Dataset:
    """The chosen images in `files`, with the dataset's test split if it has one.

    Calls `report(done, total)` after each file, and repeatedly during a slow one. Raises
    InvalidSpec for a missing class. Raises DatasetRejected as soon as too many files are
    undecodable, and names the first; also if a class has no training image left.
    """
    layout = arrange(listing)
    _refuse_missing(choice.classes, layout.classes)
    refuse_untrained(layout.untrained, choice.classes)
    chosen = layout.classes if choice.classes is None else tuple(sorted(set(choice.classes)))
    found = items_of(layout, chosen, files.read)
    checked = _check(files, found.items, pixels, choice.max_bad_fraction, report)
    good = [item for item, kept in zip(found.items, checked.is_good, strict=True) if kept]
    label_of = {name: label for label, name in enumerate(chosen)}
    labels = np.array([label_of[item.class_name] for item in good], dtype=np.int64)
    everything = Split(labels, tuple(item.name for item in good), _reader(files, good, pixels, checked.kept))
    if layout.tested:
        is_test = np.array([item.split != TRAIN for item in good], dtype=bool)
    else:
        is_test = held_out(everything.names, labels, choice.holdout_fraction, least_kept=choice.least_kept)
    train, test = divide(everything, is_test)
    dataset = Dataset(
        uri,
        chosen,
        train,
        test,
        checked.digest,
        checked.bad,
        checked.class_digests,
        left_out=(*found.left_out, *layout.left_out),
        doubts=(*layout.doubts, *found.doubts),
        unread=tuple(name for name in layout.classes if name not in label_of),
    )
    require_images(dataset, 1)
    return dataset


def _refuse_missing(chosen: Sequence[str] | None, classes: Sequence[str]) -> None:
    known = frozenset(classes)
    missing = [name for name in chosen or () if name not in known][:MOST_NAMED]
    if missing:
        told = (FieldProblem("classes", f"the dataset has no class {name!r}; {nearest(name, classes)}") for name in missing)
        raise InvalidSpec(tuple(told))


@dataclass(frozen=True)
class _Checked:
    is_good: list[bool]
    kept: list[np.ndarray] | None
    bad: tuple[str, ...]
    digest: str
    class_digests: Mapping[str, str]


def _check(files: Files, items: Sequence[Item], pixels: Pixels, max_bad_fraction: float, report: ReportProgress) -> _Checked:
    """Decode all files once. The digest includes which files are bad, because another limit of
    pixels makes other data of the same files.
    """
    digest = hashlib.sha256()
    of_class = {item.class_name: hashlib.sha256() for item in items}
    keep = len(items) * pixels.bytes_per_image <= MAX_KEPT_BYTES
    is_good, kept, bad = [], [], []
    with closing(examine(files, items, pixels, lambda: report(len(is_good), len(items)))) as found:
        for done, (item, examined) in enumerate(zip(items, found, strict=True), start=1):
            is_good.append(examined.image is not None)
            if examined.fault is not None:
                bad.append(str(examined.fault))
                _reject_if_too_many(bad, done, len(items), max_bad_fraction)
            elif keep:
                kept.append(examined.image)
            use = "" if is_good[-1] else "\0bad"
            identity = f"{item.name}\0{examined.size}\0{examined.sha256}{use}\n".encode()
            digest.update(identity)
            of_class[item.class_name].update(identity)
            report(done, len(items))
    class_digests = {name: one.hexdigest() for name, one in of_class.items()}
    return _Checked(is_good, kept if keep else None, tuple(bad), digest.hexdigest(), class_digests)


def _reject_if_too_many(bad: Sequence[str], read: int, total: int, max_bad_fraction: float) -> None:
    if len(bad) > max_bad_fraction * total:
        first = "; ".join(bad[:NAMED_BAD_FILES]) + ("; …" if len(bad) > NAMED_BAD_FILES else "")
        allowed = f"{int(max_bad_fraction * total):,} of {total:,} may be left out, {max_bad_fraction:.1%}"
        told = f"files that cannot be used: {len(bad):,} of the first {read:,} ({allowed}); repair or remove them: {first}"
        raise DatasetRejected(told)


def _reader(
    files: Files, items: Sequence[Item], pixels: Pixels, kept: list[np.ndarray] | None
) -> Callable[[np.ndarray], np.ndarray]:
    shape = (pixels.size, pixels.size, pixels.channels)
    if kept is not None:
        together = np.array(kept, dtype=np.uint8).reshape(-1, *shape)
        return lambda indices: together[indices]

    def read_now(indices: np.ndarray) -> np.ndarray:
        decoded = list(images_of(files, [items[i] for i in indices], pixels))
        return np.array(decoded, dtype=np.uint8).reshape(-1, *shape)

    return read_now
