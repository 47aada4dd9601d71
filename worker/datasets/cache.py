"""The dataset of the present job, cached between its tasks."""

from dataclasses import dataclass
from pathlib import Path

from app.domain.dataset_uri import DatasetUri
from app.domain.errors import DatasetRejected
from worker.datasets.base import Dataset
from worker.datasets.decode import MAX_PIXELS
from worker.datasets.load import load
from worker.progress import ReportProgress, no_progress


@dataclass(frozen=True)
class Source:
    """The dataset and the way to read it: the arguments of `load`."""

    uri: DatasetUri
    roots: tuple[Path, ...]
    image_size: int
    channels: int
    holdout_fraction: float
    classes: tuple[str, ...] | None = None
    least_kept: int = 1
    max_pixels: int = MAX_PIXELS

    def load(self, report: ReportProgress = no_progress) -> Dataset:
        """The present dataset. Calls `report(done, total)` after each file.

        Raises InvalidSpec or DatasetRejected.
        """
        return load(
            self.uri,
            roots=self.roots,
            image_size=self.image_size,
            channels=self.channels,
            holdout_fraction=self.holdout_fraction,
            classes=self.classes,
            least_kept=self.least_kept,
            max_pixels=self.max_pixels,
            report=report,
        )


class DatasetCache:
    """Holds the last dataset that this process read."""

    def __init__(self) -> None:
        self._held: tuple[Source, Dataset] | None = None

    def read(self, source: Source, report: ReportProgress = no_progress) -> Dataset:
        """The present dataset."""
        dataset = source.load(report)
        self._held = (source, dataset)
        return dataset

    def same(self, source: Source, digest: str, report: ReportProgress = no_progress) -> Dataset:
        """The dataset with this digest.

        Raises DatasetRejected if it has changed.
        """
        if self._held is not None and self._held[0] == source and self._held[1].digest == digest:
            return self._held[1]
        dataset = self.read(source, report)
        if dataset.digest != digest:
            raise DatasetRejected(f"{dataset.uri} changed while the job was running; submit the job again")
        return dataset
