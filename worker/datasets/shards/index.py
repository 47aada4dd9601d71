"""The index of an imported dataset: its classes, their digests, and where their images lie."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache

from pydantic import TypeAdapter

FORMAT = 1
TRAIN, TEST = "train", "test"
SPLITS = (TRAIN, TEST)
INDEX = "index.json"


@dataclass(frozen=True)
class RowGroup:
    """`rows` images of one class and split: row group `number` of a shard."""

    shard: str
    number: int
    rows: int


@dataclass(frozen=True)
class ClassSplit:
    """The images of a class in one split."""

    images: int = 0
    size_bytes: int = 0
    groups: tuple[RowGroup, ...] = ()


@dataclass(frozen=True)
class ClassEntry:
    """A class. `digest` identifies its images and their splits."""

    name: str
    digest: str
    train: ClassSplit = field(default_factory=ClassSplit)
    test: ClassSplit = field(default_factory=ClassSplit)

    def split(self, name: str) -> ClassSplit:
        return self.train if name == TRAIN else self.test


@dataclass(frozen=True)
class ImportReport:
    """What was found while a dataset was imported.

    `bad_files` names the first files that could not be decoded, as "name: reason"; `bad_count`
    counts them all. `left_out` and `doubts` are phrases about files that were not read, and about
    the interpretation of the source. `unread` are the classes that were not chosen, `escaped` those
    whose names in the source are not UTF-8. `side` is the median of the short sides in pixels,
    `colour` whether any image has colours. `modes` counts the images by the mode that Pillow gives
    their file. `repeated` counts the images whose bytes an earlier image has, `leaked` those of the
    test split whose picture the training split has.
    """

    images: int
    size_bytes: int
    side: int
    colour: bool
    largest: tuple[int, int] = (0, 0)
    smallest: tuple[int, int] = (0, 0)
    modes: dict[str, int] = field(default_factory=dict[str, int])
    bad_count: int = 0
    bad_files: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    escaped: tuple[str, ...] = ()
    repeated: int = 0
    leaked: int = 0
    leaks: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetIndex:
    """An imported dataset. Label i is `classes[i]`; classes are sorted by name.

    `digest` (SHA-256, hex) identifies the images, their classes and their splits, whatever the
    format of the source was.
    """

    digest: str
    classes: tuple[ClassEntry, ...]
    report: ImportReport
    format: int = FORMAT

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.classes)

    def counts(self, split: str) -> list[int]:
        """The number of images of each class in a split."""
        return [entry.split(split).images for entry in self.classes]

    @property
    def json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))


def index_of(content: bytes) -> DatasetIndex:
    """The index in its JSON. Raises ValueError if it is none, or of another format."""
    index = _adapter().validate_json(content)
    if index.format != FORMAT:
        raise ValueError(f"the index has format {index.format}")
    return index


def class_digest(train: Iterable[bytes], test: Iterable[bytes]) -> str:
    """The digest of a class whose images have these SHA-256 digests, each split sorted."""
    digest = hashlib.sha256()
    for split, images in ((TRAIN, train), (TEST, test)):
        digest.update(f"{split}\n".encode())
        for image in images:
            digest.update(image)
    return digest.hexdigest()


def dataset_digest(classes: Sequence[tuple[str, str]]) -> str:
    """The digest of a dataset whose classes have these names and digests."""
    return hashlib.sha256(json.dumps([FORMAT, classes]).encode()).hexdigest()


@cache
def _adapter() -> TypeAdapter[DatasetIndex]:
    return TypeAdapter(DatasetIndex)
