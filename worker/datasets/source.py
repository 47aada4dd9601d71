"""Open a dataset as its user stores it, and tell its format by its content."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.datasets.file_kinds import COMPRESSED, HEAD_BYTES, LISTS, REFUSED, UNKNOWN, FileKind, kind_of, kinds_among
from app.datasets.image_folder import Layout, Listing, arrange, listing_of, walk
from app.datasets.image_folder.names import readable, suffix_of
from app.datasets.image_folder.words import and_more
from app.domain.errors import DatasetRejected
from worker.datasets.catalogue import Catalogue, refuse_without_training
from worker.datasets.formats import arrays, label_lists, webdataset
from worker.datasets.formats.image_folder import image_folder_catalogue
from worker.datasets.formats.parquet import parquet_catalogue
from worker.datasets.readers.files import SourceFiles
from worker.datasets.readers.folder import FolderFiles
from worker.datasets.readers.regular_file import NotRegular, open_regular
from worker.datasets.readers.tar_files import TarFiles, unpacked, unpacked_head
from worker.datasets.readers.zip_files import ZipFiles
from worker.progress import Heartbeat, no_heartbeat

OLD_CODE_PAGE = (
    "names that are no UTF-8 are read as code page 437 ({}): make the zip again with names in UTF-8 if letters are wrong"
)


def catalogue_of(
    path: Path,
    roots: Sequence[Path],
    scratch: Path,
    *,
    classes: Collection[str] | None = None,
    heartbeat: Heartbeat = no_heartbeat,
) -> Catalogue:
    """The images at `path`, a folder or a file, with their classes and splits; None is all classes.

    `scratch` is an empty folder for unpacked files; it must exist as long as the images are read.
    `heartbeat` may raise to stop. Raises InvalidSpec for a missing class, and DatasetRejected that
    names the file if the dataset is unusable.
    """
    if not path.exists():
        raise DatasetRejected(f"{path} does not exist")
    found = _Opening(path, roots, scratch, heartbeat).catalogue(classes)
    refuse_without_training(found.items, found.classes if classes is None else sorted(set(classes)))
    return found


@dataclass(frozen=True)
class _Opening:
    path: Path
    roots: Sequence[Path]
    scratch: Path
    heartbeat: Heartbeat

    def catalogue(self, chosen: Collection[str] | None) -> Catalogue:
        if self.path.is_dir():
            files = FolderFiles(self.path, self.roots)
            return self._among(files, walk(self.path, self.roots), chosen)
        kind = kind_of(_head(self.path))
        if kind is not None and kind in COMPRESSED:
            return self._compressed(kind, chosen)
        if kind is FileKind.TAR:
            return self._tar(self.path, chosen)
        if kind is FileKind.ZIP:
            return self._zip(chosen)
        return self._single(kind, chosen)

    def _compressed(self, kind: FileKind, chosen: Collection[str] | None) -> Catalogue:
        inner = kind_of(unpacked_head(self.path, kind))
        if inner is FileKind.TAR:
            return self._tar(unpacked(self.path, kind, self.scratch / "unpacked.tar", self.heartbeat), chosen)
        if inner is FileKind.IDX:
            raise DatasetRejected(f"{self.path.name} holds images or labels, not both: name the folder that has both files")
        raise DatasetRejected(f"{self.path.name} is a {kind} file without a tar in it; copy or download it again")

    def _tar(self, path: Path, chosen: Collection[str] | None) -> Catalogue:
        tar = TarFiles(path, self.scratch, self.heartbeat)
        return self._among(tar, listing_of(tar.paths), chosen, tar)

    def _zip(self, chosen: Collection[str] | None) -> Catalogue:
        archive = ZipFiles(self.path, self.scratch)
        if archive.paths and all(path.endswith(".npy") for path in archive.paths):
            return arrays.arrays_catalogue(*arrays.npz_batches(self.path, self.scratch), chosen)
        listing = listing_of(archive.paths)
        if archive.guessed:
            listing.doubts[OLD_CODE_PAGE.format(archive.guessed[0])] = None
        return self._among(archive, listing, chosen)

    def _single(self, kind: FileKind | None, chosen: Collection[str] | None) -> Catalogue:
        name = self.path.name
        folder = FolderFiles(self.path.parent, (self.path.parent, *self.roots))
        if kind is FileKind.PARQUET:
            return parquet_catalogue(folder, [name], self.scratch, chosen, self.heartbeat)
        if kind is FileKind.IDX:
            raise DatasetRejected(f"{name} holds images or labels, not both: name the folder that has both files")
        if kind is not None and kind in REFUSED:
            raise DatasetRejected(f"{name}: {REFUSED[kind]}")
        if suffix_of(name).casefold() in LISTS:
            images = label_lists.ImagePaths(walk(self.path.parent, self.roots).root)
            found = label_lists.label_lists(folder, [name], images)
            if found:
                return label_lists.lists_catalogue(folder, found, images, chosen)
        raise DatasetRejected(f"{name}: {UNKNOWN}")

    def _among(
        self, files: SourceFiles, listing: Listing, chosen: Collection[str] | None, tar: TarFiles | None = None
    ) -> Catalogue:
        """The dataset in a folder or archive. Class folders come first, as they need no file to be
        looked into.
        """
        layout, refusal = _arranged(listing)
        images = label_lists.ImagePaths(listing.root)
        lists = label_lists.label_lists(files, listing.others, images)
        if any(label_lists.is_metadata(each.path) for each in lists) or (lists and not _has_classes(layout)):
            return label_lists.lists_catalogue(files, lists, images, chosen)
        if not _has_classes(layout):
            if tar is not None and webdataset.is_webdataset(tar.paths):
                return webdataset.webdataset_catalogue(
                    {self.path.name: tar}, chosen, webdataset.names_among(tar), self.heartbeat
                )
            found = self._data_files(files, listing, chosen)
            if found is not None:
                return found
        if layout is None:
            raise refusal or DatasetRejected(UNKNOWN)
        return image_folder_catalogue(files, layout, chosen)

    def _data_files(self, files: SourceFiles, listing: Listing, chosen: Collection[str] | None) -> Catalogue | None:
        """The dataset in files that are no images; None if there are none that can be one."""
        kinds = kinds_among(listing.others, files.head)
        tables = [path for path, kind in kinds.items() if kind is FileKind.PARQUET]
        tars = [path for path, kind in kinds.items() if kind is FileKind.TAR]
        idx = {path: kind for path, kind in kinds.items() if self._is_idx(files, path, kind)}
        cifar = [path for path in listing.others if arrays.is_cifar(files, path)]
        several = [paths[0] for paths in (tables, tars, list(idx), cifar) if paths]
        if len(several) > 1:
            raise DatasetRejected(f"{and_more(several)} are datasets of different formats: which is it? Name one of them")
        if tables:
            return parquet_catalogue(files, tables, self.scratch, chosen, self.heartbeat)
        if tars:
            return self._shards(files, tars, listing, chosen)
        if idx:
            return arrays.arrays_catalogue(arrays.idx_batches(files, idx, self.scratch), None, chosen)
        if cifar:
            names = arrays.cifar_names(files, listing.others)
            return arrays.arrays_catalogue(arrays.cifar_batches(files, cifar), names, chosen)
        refuse_kinds(kinds)
        return None

    def _is_idx(self, files: SourceFiles, path: str, kind: FileKind) -> bool:
        if kind in COMPRESSED:
            return kind_of(unpacked_head(files.local(path), kind)) is FileKind.IDX
        return kind is FileKind.IDX

    def _shards(self, files: SourceFiles, paths: Sequence[str], listing: Listing, chosen: Collection[str] | None) -> Catalogue:
        tars = {path: TarFiles(files.local(path), self.scratch, self.heartbeat) for path in paths}
        odd = [path for path in paths if not webdataset.is_webdataset(tars[path].paths)]
        if odd:
            raise DatasetRejected(
                f"{and_more(odd)} has no samples of WebDataset (an image and a label, such as 0.jpg and 0.cls)"
                "; to read a tar of class folders, give the tar itself as the dataset"
            )
        listed = next((path for path in listing.others if path.rpartition("/")[2].casefold() in webdataset.NAMES), None)
        names = webdataset.listed_names(files.read(listed)) if listed else None
        return webdataset.webdataset_catalogue(tars, chosen, names, self.heartbeat)


def refuse_kinds(kinds: "dict[str, FileKind]") -> None:
    """Raises DatasetRejected for files that look like the dataset, but cannot be read as part of a
    folder.
    """
    for path, kind in kinds.items():
        if kind in REFUSED:
            raise DatasetRejected(f"{readable(path)}: {REFUSED[kind]}")
    archives = [path for path, kind in kinds.items() if kind in (FileKind.ZIP, *COMPRESSED)]
    if archives:
        raise DatasetRejected(f"there are no images but {and_more(archives)}: give the archive itself as the dataset")


def _arranged(listing: Listing) -> tuple[Layout | None, DatasetRejected | None]:
    try:
        return arrange(listing), None
    except DatasetRejected as error:
        return None, error


def _has_classes(layout: Layout | None) -> bool:
    return layout is not None and len(layout.classes) > 1


def _head(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(HEAD_BYTES)
    except (NotRegular, PermissionError) as error:
        raise DatasetRejected(f"{path} cannot be read: {error.strerror or error}") from error
