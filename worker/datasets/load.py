"""Load datasets by URI, and select classes by name."""

from collections.abc import Sequence
from pathlib import Path

from app.datasets.image_folder import Listing, listing_of, walk
from app.datasets.image_folder.zip_member import NEITHER
from app.domain.dataset_uri import DatasetUri, resolve_local
from app.domain.errors import DatasetRejected
from worker.datasets.base import Dataset, relabelled
from worker.datasets.decode import MAX_PIXELS, Pixels
from worker.datasets.readers import digits, image_folder
from worker.datasets.readers.archive import ZipFiles, is_zip
from worker.datasets.readers.files import Files
from worker.datasets.readers.folder import FolderFiles
from worker.datasets.readers.image_folder import Choice
from worker.progress import ReportProgress, no_progress

MAX_BAD_FRACTION = 0.01
OLD_CODE_PAGE = (
    "names that are no UTF-8 are read as code page 437 ({}): make the zip again with names in UTF-8 if letters are wrong"
)


def load(
    uri: DatasetUri,
    *,
    roots: Sequence[Path],
    image_size: int,
    channels: int,
    holdout_fraction: float,
    classes: Sequence[str] | None = None,
    least_kept: int = 1,
    max_bad_fraction: float = MAX_BAD_FRACTION,
    max_pixels: int = MAX_PIXELS,
    report: ReportProgress = no_progress,
) -> Dataset:
    """The dataset at `uri`, every image at `image_size` pixels a side in 1 or 3 `channels`.

    `holdout_fraction` applies to folders and zips without a test split; at least `least_kept`
    images of each class are not held out. Reads only `classes` of folders and zips; None is all.
    A file with more than `max_pixels` counts as damaged. Calls `report(done, total)` after each
    file. Raises InvalidSpec for a path outside `roots` or a missing class, DatasetRejected that
    names the unusable file or class.
    """
    if uri.scheme == "sklearn":
        return digits.read(image_size=image_size, channels=channels)
    path = resolve_local(uri, roots)
    files, listing = opened(path, roots)
    return image_folder.read(
        files,
        listing,
        path.as_uri(),
        Pixels(image_size, channels, max_pixels),
        Choice(holdout_fraction, max_bad_fraction, classes, least_kept),
        report=report,
    )


def select(dataset: Dataset, classes: Sequence[str] | None) -> Dataset:
    """The dataset with only `classes`, which it must have, relabelled 0..k-1 in the given order.

    None returns it unchanged.
    """
    if classes is None:
        return dataset
    return relabelled(dataset, [dataset.classes.index(name) for name in classes])


def opened(path: Path, roots: Sequence[Path]) -> tuple[Files, Listing]:
    """The files of a folder or zip, and their listing. Raises DatasetRejected if it is neither."""
    if path.is_dir():
        return FolderFiles(path, roots), walk(path, roots)
    if path.is_file() and is_zip(path):
        archive = ZipFiles(path)
        listing = listing_of(archive.paths)
        if archive.guessed:
            listing.doubts[OLD_CODE_PAGE.format(archive.guessed[0])] = None
        return archive, listing
    raise DatasetRejected(f"{path} is {NEITHER}" if path.exists() else f"{path} does not exist")
