"""Write a distilled dataset as a zip. Its bytes depend only on its contents."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worker.archive.card import card
from worker.archive.contents import ArchiveContents
from worker.archive.drawn_as import captions
from worker.archive.names import folder_names
from worker.archive.preview import grid
from worker.archive.spool import png_bytes
from worker.progress import Heartbeat, no_heartbeat

FORMAT = 1
PARTS_PER_HEARTBEAT = 1000  # of JSON text, each a name or a value
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold
PREVIEW = "preview.png"
METADATA = "train/metadata.parquet"


def write(
    path: Path,
    contents: ArchiveContents,
    *,
    on_image: Callable[[], None] = lambda: None,
    heartbeat: Heartbeat = no_heartbeat,
) -> None:
    """Write the archive to `path`: README.md, manifest.json, preview.png, train/metadata.parquet,
    train/<class>/*.png.

    The metadata are in train/ beside the class folders: the Hugging Face `imagefolder` loader looks
    for them in the folder of the split, takes the labels from them, and reads `file_name` relative
    to them. Labels are renumbered in the order of the folder names, so that this loader,
    torchvision's ImageFolder and the metadata agree.

    One image is in memory at a time. Calls `on_image` after each written image, and `heartbeat`
    often while it makes the other files; both may raise to stop.
    """
    ordered = _in_order(contents)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in _texts(ordered, heartbeat).items():
            archive.writestr(_entry(name), content)
        for row, name in enumerate(ordered.file_names):
            archive.writestr(_entry(f"train/{name}"), ordered.contents.images.content(row))
            on_image()


@dataclass(frozen=True)
class _Ordered:
    contents: ArchiveContents
    folders: tuple[str, ...]
    file_names: tuple[str, ...]  # relative to train/


def _in_order(contents: ArchiveContents) -> _Ordered:
    """Classes by folder name, then images by index."""
    folders = folder_names(contents.classes)
    order = sorted(range(len(folders)), key=folders.__getitem__)
    new_label = np.argsort(order)
    labels = new_label[contents.labels]
    rows = np.lexsort((contents.indices, labels))
    arranged = replace(
        contents,
        classes=tuple(contents.classes[i] for i in order),
        drawn_as=tuple(contents.drawn_as[i] for i in order) if contents.drawn_as else (),
        images=contents.images.in_order(rows),
        labels=labels[rows],
        indices=contents.indices[rows],
        seeds=contents.seeds[rows],
        ranks=contents.ranks[rows],
        distances={name: column[rows] for name, column in sorted(contents.distances.items())},
    )
    sorted_folders = tuple(folders[i] for i in order)
    return _Ordered(arranged, sorted_folders, _file_names(arranged, sorted_folders))


def _file_names(contents: ArchiveContents, folders: Sequence[str]) -> tuple[str, ...]:
    digits = max(3, len(str(contents.indices.max(initial=0))))
    pairs = zip(contents.labels, contents.indices, strict=True)
    return tuple(f"{folders[label]}/{folders[label]}_{index:0{digits}d}.png" for label, index in pairs)


def _texts(ordered: _Ordered, heartbeat: Callable[[], None]) -> dict[str, bytes]:
    """All files except the images of the set. The manifest lists the images too."""
    contents = ordered.contents
    picture = grid(contents.images, contents.labels, contents.ranks, captions(contents.classes, contents.drawn_as), heartbeat)
    files = {PREVIEW: png_bytes(picture), METADATA: _parquet(ordered)}
    readme = {"README.md": card(contents, contents.classes).encode()}
    return readme | {"manifest.json": _json(_manifest(ordered, readme | files), heartbeat)} | files


def _manifest(ordered: _Ordered, files: Mapping[str, bytes]) -> dict[str, Any]:
    contents = ordered.contents
    sizes = np.bincount(contents.labels, minlength=len(contents.classes)).tolist()
    classes = [
        {"label": label, "name": name, "folder": f"train/{folder}", "images": size}
        for label, (name, folder, size) in enumerate(zip(contents.classes, ordered.folders, sizes, strict=True))
    ]
    for entry, drawn in zip(classes, contents.drawn_as, strict=False):
        entry["drawn_as"] = drawn.fields
    return {
        "format": FORMAT,
        "spec": contents.spec.content,
        "provenance": dict(contents.provenance),
        "classes": classes,
        "evaluation": contents.summary,
        "warnings": list(contents.warnings),
        "files": _digests(ordered, files),
    }


def _digests(ordered: _Ordered, files: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    images = map(ordered.contents.images.stored, range(len(ordered.contents.images)))
    return {
        **{
            name: {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)} for name, content in files.items()
        },
        **{
            f"train/{name}": {"sha256": image.sha256, "size_bytes": image.size_bytes}
            for name, image in zip(ordered.file_names, images, strict=True)
        },
    }


def _parquet(ordered: _Ordered) -> bytes:
    contents = ordered.contents
    columns = {
        "file_name": list(ordered.file_names),
        "label": contents.labels.astype(np.int64),
        "class": [contents.classes[label] for label in contents.labels],
        "index": contents.indices,
        "seed": contents.seeds.astype(np.int64),
        "rank": contents.ranks,
        **contents.distances,
    }
    if contents.drawn_as:
        columns["drawn_as"] = [str(contents.drawn_as[label]) for label in contents.labels]
    table = pa.table(columns)
    stream = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(_loader_hints(contents, table.schema)), stream)
    return stream.getvalue()


def _loader_hints(contents: ArchiveContents, schema: pa.Schema) -> dict[str, str]:
    """Metadata of the parquet schema that make the Hugging Face loader show class names for
    `label`.
    """
    features: dict[str, Any] = {field.name: {"dtype": _dtype(field.type), "_type": "Value"} for field in schema}
    features["label"] = {"names": list(contents.classes), "_type": "ClassLabel"}
    return {"huggingface": json.dumps({"info": {"features": features}})}


def _dtype(kind: pa.DataType) -> str:
    return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))


def _json(value: Any, heartbeat: Callable[[], None]) -> bytes:
    """The value as JSON. Calls `heartbeat`, because many images take seconds."""
    text = io.StringIO()
    for number, part in enumerate(json.JSONEncoder(indent=2, ensure_ascii=False, sort_keys=True).iterencode(value)):
        text.write(part)
        if number % PARTS_PER_HEARTBEAT == 0:
            heartbeat()
    return (text.getvalue() + "\n").encode()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.external_attr = 0o644 << 16
    entry.create_system = 3  # Unix, on every platform
    return entry
