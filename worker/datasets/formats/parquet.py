"""Read datasets in parquet: the image layout of Hugging Face, and plain tables of images and
labels.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from app.datasets.image_folder import Item
from app.datasets.image_folder.words import and_more
from app.domain.errors import DatasetRejected
from worker.datasets.catalogue import Catalogue, refuse_missing
from worker.datasets.formats.labels import ClassNames, class_text
from worker.datasets.formats.splits import splits_among
from worker.datasets.readers.files import SourceFiles, check_count
from worker.datasets.readers.spooled_files import Spool
from worker.progress import Heartbeat, no_heartbeat

IMAGE_COLUMNS = ("image", "img", "images", "picture", "photo", "bytes", "image_bytes", "jpg", "png")
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target", "fine_label", "cls", "y")
BATCH_ROWS = 64
BUFFER_BYTES = 1 << 20
EMPTY = "rows without an image"
UNLABELLED = "rows without a label"


@dataclass(frozen=True)
class Table:
    """One parquet file: its columns of images and labels, and the names of numbered labels."""

    path: str
    local: Path
    image: str
    label: str
    names: tuple[str, ...] | None

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows in order, a few at a time. Raises DatasetRejected if the file is damaged."""
        try:
            with _opened(self.local) as file:
                yield from file.iter_batches(BATCH_ROWS if self.image in columns else 1 << 16, columns=list(columns))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise damaged(self.path, error) from error


def parquet_catalogue(
    files: SourceFiles,
    paths: Sequence[str],
    scratch: Path,
    chosen: Collection[str] | None = None,
    heartbeat: Heartbeat = no_heartbeat,
) -> Catalogue:
    """The images of these parquet files. Copies the chosen ones into `scratch`.

    Raises InvalidSpec for a chosen class that no row has, and DatasetRejected if a file is damaged
    or its columns are unclear.
    """
    tables = [table_of(files, path) for path in sorted(paths)]
    names = ClassNames.agreed({table.path: table.names for table in tables if table.names is not None})
    labels = {table.path: _labels(table, names) for table in tables}
    splits = splits_among({path: sum(label is not None for label in those) for path, those in labels.items()})
    check_count(sum(map(len, labels.values())))
    classes = tuple(sorted({label for path in splits.of for label in labels[path] if label is not None}))
    refuse_missing(None if chosen is None else list(chosen), classes)
    wanted = frozenset(classes if chosen is None else chosen)
    items: list[Item] = []
    empty = unlabelled = 0
    with Spool(scratch / "parquet") as spool:
        for table in tables:
            if table.path not in splits.of:
                continue
            split, those = splits.of[table.path], labels[table.path]
            for row, (content, name) in enumerate(_images(table)):
                label = those[row]
                if label is None:
                    unlabelled += 1
                elif content is None:
                    empty += 1
                elif label in wanted:
                    shown = f"{table.path}#{row}" + (f" ({name})" if name else "")
                    items.append(Item(spool.add(content), shown, label, split))
                if row % BATCH_ROWS == 0:
                    heartbeat()
        spooled = spool.files()
    left_out = (*splits.left_out, *_counted(EMPTY, empty), *_counted(UNLABELLED, unlabelled))
    return Catalogue(spooled, items, classes, splits.tested, left_out, splits.doubts)


def table_of(files: SourceFiles, path: str) -> Table:
    """The columns of a parquet file. Raises DatasetRejected if they are unclear."""
    local = files.local(path)
    try:
        with _opened(local) as file:
            schema = file.schema_arrow
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(path, error) from error
    features = _features(schema)
    image = _column(
        path, "image", [name for name in schema.names if _holds_images(schema.field(name), features)], IMAGE_COLUMNS
    )
    label = _column(path, "label", [name for name in schema.names if _holds_labels(schema.field(name))], LABEL_COLUMNS)
    return Table(path, local, image, label, _names(features.get(label)))


def damaged(path: str, error: Exception) -> DatasetRejected:
    return DatasetRejected(f"{path} is not a readable parquet file: {error}; copy or download it again")


def _opened(local: Path) -> pq.ParquetFile:
    return pq.ParquetFile(local, pre_buffer=False, buffer_size=BUFFER_BYTES)


def _features(schema: pa.Schema) -> Mapping[str, Any]:
    """The columns as Hugging Face `datasets` describes them; empty without that description."""
    try:
        found = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        return dict(found.get("info", {}).get("features") or {})
    except (AttributeError, TypeError, ValueError):
        return {}


def _names(feature: Any) -> tuple[str, ...] | None:
    names = feature.get("names") if isinstance(feature, dict) else None
    return tuple(map(str, names)) if isinstance(names, list) else None


def _holds_images(field: pa.Field, features: Mapping[str, Any]) -> bool:
    described = features.get(field.name)
    if isinstance(described, dict) and described.get("_type") == "Image":
        return True
    if pa.types.is_struct(field.type):
        return field.type.get_field_index("bytes") >= 0 and _is_binary(field.type.field("bytes").type)
    return _is_binary(field.type)


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _holds_labels(field: pa.Field) -> bool:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    return pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _column(path: str, what: str, candidates: Sequence[str], usual: Sequence[str]) -> str:
    """The column of images or labels: the only candidate, or the first usual name among them."""
    lower = {name.casefold(): name for name in reversed(candidates)}
    found = next((lower[name] for name in usual if name in lower), None)
    if found is not None:
        return found
    if len(candidates) == 1 and what == "image":
        return candidates[0]
    told = f"it has {and_more(candidates)}" if candidates else f"no column can hold {what}s"
    raise DatasetRejected(f"{path}: which column holds the {what}s? {told}; name it {usual[0]!r}")


def _labels(table: Table, names: ClassNames) -> list[str | None]:
    """The class of each row; rows of one class share one string."""
    texts: dict[Any, str | None] = {}
    found: list[str | None] = []
    for batch in table.batches([table.label]):
        for label in batch.column(0).to_pylist():
            if label not in texts:
                texts[label] = class_text(label, names)
            found.append(texts[label])
    return found


def _images(table: Table) -> Iterator[tuple[bytes | None, str | None]]:
    """The content and the name of each row's image."""
    for batch in table.batches([table.image]):
        for value in batch.column(0):
            yield _content(value)


def _content(value: Any) -> tuple[bytes | None, str | None]:
    found = value.as_py()
    if isinstance(found, dict):
        return found.get("bytes"), found.get("path")
    return found if isinstance(found, bytes) else None, None


def _counted(reason: str, count: int) -> tuple[str, ...]:
    return (f"{reason}: {count:,}",) if count else ()
