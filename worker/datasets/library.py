"""The datasets of a worker: each source is imported once, and then read from the artifact store."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from app.domain.dataset_uri import DatasetUri, check_bucket, resolve_local
from app.domain.errors import ArtifactNotReady, DatasetRejected
from app.domain.ports import ArtifactStore
from app.settings import Settings
from worker.datasets.base import Dataset
from worker.datasets.decode import MAX_PIXELS, Pixels
from worker.datasets.fingerprint import source_fingerprint
from worker.datasets.importing import MAX_BAD_FRACTION, PREFIX, ImportChoice, import_dataset, publish
from worker.datasets.readers import digits
from worker.datasets.remote.remote import remote_source
from worker.datasets.shards.index import FORMAT, INDEX, DatasetIndex, index_of
from worker.datasets.shards.reader import imported_dataset
from worker.datasets.source import catalogue_of
from worker.disk_cache import DiskCache
from worker.progress import Heartbeat, ReportProgress, no_heartbeat, no_progress

SOURCES = f"{PREFIX}sources/"


@dataclass(frozen=True)
class Source:
    """A dataset and what of it is imported. `roots` are the folders that a file URI may name."""

    uri: DatasetUri
    roots: tuple[Path, ...]
    holdout_fraction: float
    classes: tuple[str, ...] | None = None
    max_pixels: int = MAX_PIXELS
    max_bad_fraction: float = MAX_BAD_FRACTION

    @property
    def choice(self) -> ImportChoice:
        classes = None if self.classes is None else tuple(sorted(set(self.classes)))
        return ImportChoice(self.holdout_fraction, classes, self.max_bad_fraction, self.max_pixels)


@dataclass(frozen=True)
class Survey:
    """What a dataset shows before it is decoded at some size.

    `side` is the median of the short sides in pixels, `colour` whether any image has colours.
    `escaped` are the classes whose names in the source are not UTF-8; their names contain the bytes
    as escapes. `digest` is that of the dataset.
    """

    classes: tuple[str, ...]
    side: int
    colour: bool
    digest: str
    escaped: tuple[str, ...] = ()


class DatasetLibrary:
    """Imports datasets into `store`, and decodes them through `cache`.

    `settings` say what may be downloaded.
    """

    def __init__(self, store: ArtifactStore, cache: DiskCache, settings: Settings) -> None:
        self._store, self._cache, self._settings = store, cache, settings
        self._known: dict[str, DatasetIndex] = {}  # the last index by its digest

    def survey(self, source: Source, scratch: Path, report: ReportProgress = no_progress) -> Survey:
        """The survey of the present dataset; imports it if it is new or has changed."""
        if source.uri.scheme == "sklearn":
            found = digits.read(image_size=digits.SIDE, channels=1)
            return Survey(found.classes, found.side, found.colour, found.digest)
        index, _ = self._imported(source, scratch, report)
        return Survey(index.names, index.report.side, index.report.colour, index.digest, index.report.escaped)

    def read(self, source: Source, form: Pixels, scratch: Path, report: ReportProgress = no_progress) -> Dataset:
        """The present dataset, with images of this form; imports it if it is new or has changed.

        Unpacks files into `scratch`. Calls `report(done, total)` after each file. Raises
        InvalidSpec for a path outside the roots or a missing class, DatasetRejected that names the
        unusable file or class.
        """
        if source.uri.scheme == "sklearn":
            return digits.read(image_size=form.size, channels=form.channels)
        index, revision = self._imported(source, scratch, report)
        dataset = imported_dataset(source.uri.text, index, self._store, self._cache, form)
        return replace(dataset, revision=revision)

    def same(self, source: Source, form: Pixels, digest: str, heartbeat: Heartbeat = no_heartbeat) -> Dataset:
        """The dataset with this digest, imported before. Raises DatasetRejected if it is gone."""
        if source.uri.scheme == "sklearn":
            return digits.read(image_size=form.size, channels=form.channels)
        return imported_dataset(source.uri.text, self._index(digest), self._store, self._cache, form, heartbeat)

    def _imported(self, source: Source, scratch: Path, report: ReportProgress) -> tuple[DatasetIndex, str | None]:
        """The index, and the revision of the source."""

        def heartbeat() -> None:
            report(0, 1)

        if source.uri.scheme == "file":
            path = resolve_local(source.uri, source.roots)
            key = _key(source, source_fingerprint(path, source.roots, heartbeat))
            return self._found(key) or self._import(source, path, source.roots, key, scratch, report), None
        check_bucket(source.uri, self._settings.dataset_buckets)
        remote = remote_source(source.uri, self._settings)
        key = _key(source, remote.fingerprint(heartbeat))
        if (index := self._found(key)) is not None:
            return index, remote.revision
        with TemporaryDirectory(dir=scratch) as folder:
            path = remote.fetch(Path(folder), heartbeat)
            return self._import(source, path, [Path(folder)], key, scratch, report), remote.revision

    def _import(
        self, source: Source, path: Path, roots: Sequence[Path], key: str | None, scratch: Path, report: ReportProgress
    ) -> DatasetIndex:
        def heartbeat() -> None:
            report(0, 1)

        with TemporaryDirectory(dir=scratch) as unpacked, TemporaryDirectory(dir=scratch) as made:
            found = catalogue_of(path, roots, Path(unpacked), classes=source.classes, heartbeat=heartbeat)
            index, shards = import_dataset(found, source.choice, Path(made), report=report)
            images = len(found.items)
            publish(self._store, index, shards, Path(made), lambda: report(images, images))
            if key is not None:
                pointer = Path(made) / "digest"
                pointer.write_text(index.digest)
                self._store.put(key, pointer, "text/plain")
        self._known = {index.digest: index}
        return index

    def _found(self, key: str | None) -> DatasetIndex | None:
        """The index of a source that was imported before and has not changed."""
        if key is None:
            return None
        try:
            with self._store.open(key) as stream:
                return self._index(stream.read().decode())
        except (ArtifactNotReady, DatasetRejected):
            return None

    def _index(self, digest: str) -> DatasetIndex:
        if digest not in self._known:
            key = f"{PREFIX}{digest}/{INDEX}"
            try:
                with self._store.open(key) as stream:
                    self._known = {digest: index_of(stream.read())}
            except (ArtifactNotReady, ValueError) as error:
                raise DatasetRejected(f"the imported dataset {digest} is gone ({error}); submit the job again") from error
        return self._known[digest]


def _key(source: Source, fingerprint: str | None) -> str | None:
    """The key that leads from a source to the digest of its import; None if it may still change."""
    if fingerprint is None:
        return None
    identity = [FORMAT, source.uri.text, fingerprint, *astuple(source.choice)]
    return f"{SOURCES}{hashlib.sha256(json.dumps(identity).encode('utf-8', 'surrogateescape')).hexdigest()}"
