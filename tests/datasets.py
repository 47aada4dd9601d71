"""Datasets as a job reads them, for tests."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from app.domain.dataset_uri import DatasetUri, parse
from app.settings import Settings
from app.storage.local import LocalArtifactStore
from worker.datasets.base import Dataset, Split
from worker.datasets.decode import MAX_PIXELS, Pixels
from worker.datasets.importing import MAX_BAD_FRACTION
from worker.datasets.library import DatasetLibrary, Source
from worker.disk_cache import DiskCache
from worker.progress import ReportProgress, no_progress


def library_beside(path: Path) -> DatasetLibrary:
    """A library whose store and cache lie beside the dataset."""
    return DatasetLibrary(LocalArtifactStore(path.parent / "store"), DiskCache(path.parent / "cache", 1 << 30), Settings())


def loaded(
    where: Path | str,
    *,
    roots: Sequence[Path] | None = None,
    image_size: int = 8,
    channels: int = 1,
    holdout_fraction: float = 0.25,
    classes: Sequence[str] | None = None,
    max_bad_fraction: float = MAX_BAD_FRACTION,
    max_pixels: int = MAX_PIXELS,
    report: ReportProgress = no_progress,
    beside: Path | None = None,
) -> Dataset:
    """The dataset at a path or URI, imported if need be into a store beside it (or beside `beside`)."""
    uri = parse(where) if isinstance(where, str) else DatasetUri("file", path=where)
    near = beside or uri.path or Path.cwd()
    source = Source(
        uri,
        tuple(roots if roots is not None else [near.parent]),
        holdout_fraction,
        None if classes is None else tuple(classes),
        max_pixels,
        max_bad_fraction,
    )
    with TemporaryDirectory() as scratch:
        return library_beside(near).read(source, Pixels(image_size, channels, max_pixels), Path(scratch), report)


def files_of(split: Split, root: Path) -> list[str]:
    """The paths below `root` of a split's images, in their order; each file has bytes of its own."""
    by_digest = {
        hashlib.sha256(path.read_bytes()).hexdigest(): path.relative_to(root).as_posix()
        for path in root.rglob("*.*")
        if path.is_file()
    }
    return [by_digest[name] for name in split.names]
