"""Import a dataset: read and decode every image once, and write shards by class with an index."""

from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from app.datasets.image_folder import Item
from app.domain.errors import DatasetRejected
from app.domain.ports import ArtifactStore
from worker.datasets.catalogue import Catalogue
from worker.datasets.decode import MAX_PIXELS, Pixels
from worker.datasets.examine import Examined, examine
from worker.datasets.readers.spooled_files import Spool
from worker.datasets.shards.index import (
    INDEX,
    TEST,
    TRAIN,
    ClassEntry,
    ClassSplit,
    DatasetIndex,
    ImportReport,
    class_digest,
    dataset_digest,
)
from worker.datasets.shards.statistics import NAMED_LEAKS, ImportStatistics
from worker.datasets.shards.writer import ShardWriter
from worker.datasets.split import held_out
from worker.progress import Heartbeat, ReportProgress, no_progress

PREFIX = "datasets/"
MAX_BAD_FRACTION = 0.01
LEAST_KEPT = 2  # images of a class that are never held out: a distance needs two
NAMED_BAD_FILES = 5  # in the message of a refusal
KEPT_BAD_FILES = 100  # in the report
THUMBNAIL = 32  # pixels a side


@dataclass(frozen=True)
class ImportChoice:
    """How a dataset is imported.

    `holdout_fraction` of each class is held out if the source has no test split. At most
    `max_bad_fraction` of the files may be undecodable; a file with more than `max_pixels` is.
    """

    holdout_fraction: float
    classes: tuple[str, ...] | None = None
    max_bad_fraction: float = MAX_BAD_FRACTION
    max_pixels: int = MAX_PIXELS


def import_dataset(
    catalogue: Catalogue, choice: ImportChoice, scratch: Path, *, report: ReportProgress = no_progress
) -> tuple[DatasetIndex, list[Path]]:
    """Write the images of the catalogue as shards into `scratch`; return the index and the shards.

    Holds one row group and a few files in memory, and the images of one class once more on disk.
    Calls `report(done, total)` after each file, and repeatedly during a slow one. Raises
    DatasetRejected as soon as too many files are undecodable, or if a class has no training image.
    """
    return _Import(catalogue, choice, scratch, report).run()


def publish(store: ArtifactStore, index: DatasetIndex, shards: Sequence[Path], scratch: Path, heartbeat: Heartbeat) -> None:
    """Store the shards and then the index below `datasets/<digest>/`. Raises StorageUnavailable."""
    prefix = f"{PREFIX}{index.digest}/"
    for shard in shards:
        store.put(prefix + shard.name, shard, "application/vnd.apache.parquet", heartbeat)
    path = scratch / INDEX
    path.write_text(index.json)
    store.put(prefix + INDEX, path, "application/json", heartbeat)


class _Import:
    def __init__(self, catalogue: Catalogue, choice: ImportChoice, scratch: Path, report: ReportProgress) -> None:
        self._catalogue, self._choice, self._scratch, self._report = catalogue, choice, scratch, report
        self._classes = tuple(sorted({item.class_name for item in catalogue.items}))
        label_of = {name: label for label, name in enumerate(self._classes)}
        labels = np.fromiter((label_of[item.class_name] for item in catalogue.items), np.int32, len(catalogue.items))
        self._order = np.argsort(labels, kind="stable")
        self._writer = ShardWriter(scratch, self._classes)
        self._statistics = ImportStatistics()
        self._added = array("I")  # positions in the catalogue, in the order of the statistics
        self._bad: list[str] = []
        self._bad_count = self._done = 0

    def run(self) -> tuple[DatasetIndex, list[Path]]:
        items = self._catalogue.items
        pixels = Pixels(THUMBNAIL, 3, self._choice.max_pixels, thumbnail=True)
        ordered = (items[i] for i in map(int, self._order))
        digests: list[str] = []
        with closing(examine(self._catalogue.files, ordered, pixels, self._beat)) as results:
            found = zip(map(int, self._order), results, strict=True)
            for label, (_, of_class) in enumerate(groupby(found, key=lambda pair: items[pair[0]].class_name)):
                digests.append(self._import_class(label, of_class))
        groups, shards = self._writer.close()
        entries = tuple(
            ClassEntry(name, digest, *(groups.get((split, label), ClassSplit()) for split in (TRAIN, TEST)))
            for label, (name, digest) in enumerate(zip(self._classes, digests, strict=True))
        )
        return DatasetIndex(dataset_digest(list(zip(self._classes, digests, strict=True))), entries, self._told()), shards

    def _import_class(self, label: int, found: Iterator[tuple[int, Examined]]) -> str:
        """Write the images of a class, sorted by split and content; return the class's digest."""
        positions: list[int] = []
        digests: list[bytes] = []
        places: list[str] = []
        with Spool(self._scratch / "class") as spool:
            for position, examined in found:
                self._done += 1
                if examined.picture is None:
                    self._note_bad(str(examined.fault))
                else:
                    positions.append(position)
                    digests.append(examined.sha256)
                    places.append(spool.add(examined.content))
                    self._statistics.add(examined.picture, len(examined.content), examined.sha256)
                    self._added.append(position)
                self._beat()
            contents = spool.files()
        splits = self._splits(positions, digests)
        self._statistics.add_splits(splits)
        order = sorted(range(len(positions)), key=lambda i: (splits[i] == TEST, digests[i], self._item(positions[i]).name))
        for i in order:
            self._writer.add(splits[i], label, contents.read(places[i]), self._item(positions[i]).name, digests[i])
            self._beat()
        if TRAIN not in splits:
            told = f"class {self._classes[label]!r} has 0 training images beside those held out; at least 1 is needed"
            raise DatasetRejected(told)
        of_split = [[digests[i] for i in order if splits[i] == split] for split in (TRAIN, TEST)]
        return class_digest(*of_split)

    def _splits(self, positions: Sequence[int], digests: Sequence[bytes]) -> list[str]:
        if self._catalogue.tested:
            return [self._item(position).split or TRAIN for position in positions]
        names = [digest.hex() for digest in digests]
        tested = held_out(names, np.zeros(len(names), dtype=np.int64), self._choice.holdout_fraction, least_kept=LEAST_KEPT)
        return [TEST if is_test else TRAIN for is_test in tested]

    def _item(self, position: int) -> Item:
        return self._catalogue.items[position]

    def _beat(self) -> None:
        self._report(self._done, len(self._order))

    def _note_bad(self, fault: str) -> None:
        self._bad_count += 1
        if len(self._bad) < KEPT_BAD_FILES:
            self._bad.append(fault)
        total = len(self._order)
        if self._bad_count > self._choice.max_bad_fraction * total:
            first = "; ".join(self._bad[:NAMED_BAD_FILES]) + ("; …" if self._bad_count > NAMED_BAD_FILES else "")
            most = self._choice.max_bad_fraction
            allowed = f"{int(most * total):,} of {total:,} may be left out, {most:.1%}"
            told = f"files that cannot be used: {self._bad_count:,} of the first {self._done:,} ({allowed})"
            raise DatasetRejected(f"{told}; repair or remove them: {first}")

    def _told(self) -> ImportReport:
        seen, catalogue = self._statistics, self._catalogue
        leaked = seen.leaked()
        chosen = frozenset(self._classes)
        return ImportReport(
            images=seen.images,
            size_bytes=seen.size_bytes,
            side=seen.side,
            colour=seen.colour,
            largest=seen.largest,
            smallest=seen.smallest,
            modes=dict(sorted(seen.modes.items())),
            bad_count=self._bad_count,
            bad_files=tuple(self._bad),
            left_out=catalogue.left_out,
            doubts=catalogue.doubts,
            escaped=catalogue.escaped,
            unread=tuple(name for name in catalogue.classes if name not in chosen),
            repeated=seen.repeated,
            leaked=len(leaked),
            leaks=tuple(self._item(self._added[i]).name for i in leaked[:NAMED_LEAKS].tolist()),
        )
