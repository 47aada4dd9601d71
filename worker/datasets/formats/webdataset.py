"""Read WebDataset shards: tars whose members of one sample share a name before the first dot."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from app.datasets.image_folder import Item
from app.datasets.image_folder.names import readable
from app.domain.errors import DatasetRejected
from worker.datasets.catalogue import Catalogue, refuse_missing
from worker.datasets.decode import BadImage
from worker.datasets.formats.labels import ClassNames, class_text
from worker.datasets.formats.splits import splits_among
from worker.datasets.readers.files import check_count
from worker.datasets.readers.tar_files import TarFiles
from worker.progress import Heartbeat, no_heartbeat

IMAGES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "avif")
LABELS = ("cls", "label", "cls.txt", "label.txt", "json")
KEYS = ("label", "cls", "class", "class_name", "category", "target")  # of a sample's JSON, in this order
NAMES = ("classnames.txt", "classes.txt", "labels.txt")  # one class name a line, in the order of the numbers
MOST_LABEL_BYTES = 1 << 16
BEAT_SAMPLES = 1024


@dataclass
class Sample:
    """The members of one sample by their suffix, lower case."""

    key: str
    members: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def image(self) -> str | None:
        return next((self.members[suffix] for suffix in IMAGES if suffix in self.members), None)

    @property
    def label(self) -> tuple[str, str] | None:
        """The suffix and the member of the label."""
        return next(((suffix, self.members[suffix]) for suffix in LABELS if suffix in self.members), None)


class TarSet:
    """The members of several tars. A path is "number of the tar/member"."""

    def __init__(self, tars: Sequence[TarFiles]) -> None:
        self._tars = tars

    def size(self, path: str) -> int:
        tar, member = self._found(path)
        return tar.size(member)

    def read(self, path: str) -> bytes:
        tar, member = self._found(path)
        return tar.read(member)

    def _found(self, path: str) -> tuple[TarFiles, str]:
        number, _, member = path.partition("/")
        return self._tars[int(number)], member


def is_webdataset(paths: Iterable[str]) -> bool:
    """Whether a tar with these members has samples with an image and a label."""
    return any(sample.image and sample.label for sample in samples_of(paths))


def samples_of(paths: Iterable[str]) -> Iterator[Sample]:
    """The samples of a tar. `paths` are sorted, so that the members of a sample are neighbours."""
    by_key: dict[str, Sample] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        stem, _, suffix = name.partition(".")
        key = f"{folder}/{stem}" if folder else stem
        by_key.setdefault(key, Sample(key)).members[suffix.casefold()] = path
    yield from by_key.values()


def webdataset_catalogue(
    tars: Mapping[str, TarFiles],
    chosen: Collection[str] | None = None,
    names_text: str | None = None,
    heartbeat: Heartbeat = no_heartbeat,
) -> Catalogue:
    """The images of these tars by path. `names_text` lists the names of numbered classes.

    Raises InvalidSpec for a chosen class that no sample has, and DatasetRejected for a label that
    cannot be read.
    """
    names = ClassNames.agreed({"the list of class names": tuple(names_text.split("\n"))} if names_text else {})
    order = sorted(tars)
    found: list[tuple[int, Sample, str]] = []
    counts = dict.fromkeys(order, 0)
    unlabelled = 0
    texts: dict[str, str] = {}
    for number, path in enumerate(order):
        for sample in samples_of(tars[path].paths):
            if sample.image is None:
                continue
            label = _label(tars[path], path, sample, names)
            if label is None:
                unlabelled += 1
                continue
            found.append((number, sample, texts.setdefault(label, label)))
            counts[path] += 1
            if len(found) % BEAT_SAMPLES == 0:
                heartbeat()
    check_count(len(found))
    splits = splits_among(counts)
    classes = tuple(sorted({label for number, _, label in found if order[number] in splits.of}))
    refuse_missing(None if chosen is None else list(chosen), classes)
    wanted = frozenset(classes if chosen is None else chosen)
    items = [
        Item(f"{number}/{sample.image}", readable(f"{order[number]}/{sample.image}"), label, splits.of[order[number]])
        for number, sample, label in found
        if label in wanted and order[number] in splits.of
    ]
    left_out = (*splits.left_out, *((f"images without labels: {unlabelled:,}",) if unlabelled else ()))
    return Catalogue(TarSet([tars[path] for path in order]), items, classes, splits.tested, left_out, splits.doubts)


def names_among(tar: TarFiles) -> str | None:
    """The text of a tar's list of class names, if it has one."""
    found = next((path for path in tar.paths if path.rpartition("/")[2].casefold() in NAMES), None)
    return None if found is None else listed_names(tar.read(found))


def listed_names(content: bytes) -> str:
    """The names in a list of class names, a line each, without empty lines."""
    lines = (line.strip() for line in content.decode("utf-8", "backslashreplace").splitlines())
    return "\n".join(line for line in lines if line)


def _label(tar: TarFiles, path: str, sample: Sample, names: ClassNames) -> str | None:
    if sample.label is None:
        return None
    suffix, member = sample.label
    shown = readable(f"{path}/{member}")
    if tar.size(member) > MOST_LABEL_BYTES:
        raise DatasetRejected(f"{shown} is no label: it has more than {MOST_LABEL_BYTES:,} bytes")
    try:
        text = tar.read(member).decode("utf-8").strip()
    except (BadImage, UnicodeDecodeError) as error:
        raise DatasetRejected(f"{shown} cannot be read as a label: {error}") from error
    if suffix == "json":
        return _label_in_json(text, shown, names)
    return class_text(int(text) if _is_number(text) else text, names)


def _label_in_json(text: str, shown: str, names: ClassNames) -> str | None:
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetRejected(f"{shown} is not JSON: {error}") from error
    label = next((about[key] for key in KEYS if key in about), None) if isinstance(about, dict) else about
    if label is not None and not isinstance(label, (int, str)):
        raise DatasetRejected(f"{shown}: the label is {str(label)[:60]!r}; it must be a number or a name")
    return class_text(label, names)


def _is_number(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit() and len(text) < 10
