"""Write images as parquet shards that Hugging Face `datasets` loads unchanged.

A shard holds one split. Its rows are grouped by class, and a row group holds images of one class.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from worker.datasets.shards.index import SPLITS, ClassSplit, RowGroup

GROUP_BYTES = 2 << 20  # of images in a row group; a reader holds one in memory
GROUP_ROWS = 4096
SHARD_BYTES = 512 << 20


class ShardWriter:
    """Writes the shards of a dataset into `folder`, one class after another."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self._schema = schema_of(classes)
        self._splits = {split: _SplitWriter(folder, split, self._schema) for split in SPLITS}

    def add(self, split: str, label: int, content: bytes, name: str, sha256: bytes) -> None:
        """Append an image. All images of a class and split come one after another."""
        self._splits[split].add(label, content, name, sha256)

    def close(self) -> tuple[dict[tuple[str, int], ClassSplit], list[Path]]:
        """The images of each (split, label), and the shards with their final names."""
        found: dict[tuple[str, int], ClassSplit] = {}
        paths: list[Path] = []
        for split, writer in self._splits.items():
            groups, shards = writer.close()
            paths += shards
            for label, (size_bytes, those) in groups.items():
                named = tuple(RowGroup(shards[shard].name, number, rows) for shard, number, rows in those)
                found[split, label] = ClassSplit(sum(group.rows for group in named), size_bytes, named)
        return found, paths


def schema_of(classes: Sequence[str]) -> pa.Schema:
    """The columns of a shard, with the description that `datasets` reads."""
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(classes), "_type": "ClassLabel"},
        "sha256": {"dtype": "binary", "_type": "Value"},
    }
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([("image", image), ("label", pa.int64()), ("sha256", pa.binary())], metadata=metadata)


class _SplitWriter:
    """The shards of one split."""

    def __init__(self, folder: Path, split: str, schema: pa.Schema) -> None:
        self._folder, self._split, self._schema = folder, split, schema
        self._writer: pq.ParquetWriter | None = None
        self._shards: list[Path] = []
        self._number = 0  # of the next row group in the present shard
        self._shard_bytes = 0
        self._label = -1
        self._rows: list[tuple[bytes, str, bytes]] = []
        self._bytes = 0
        self._groups: dict[int, tuple[int, list[tuple[int, int, int]]]] = {}

    def add(self, label: int, content: bytes, name: str, sha256: bytes) -> None:
        if label != self._label or self._bytes >= GROUP_BYTES or len(self._rows) == GROUP_ROWS:
            self._flush()
        self._label = label
        self._rows.append((content, name, sha256))
        self._bytes += len(content)

    def close(self) -> tuple[dict[int, tuple[int, list[tuple[int, int, int]]]], list[Path]]:
        self._flush()
        self._end_shard()
        count = len(self._shards)
        return self._groups, [
            _renamed(path, f"{self._split}-{number:05d}-of-{count:05d}.parquet") for number, path in enumerate(self._shards)
        ]

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._writer is None:
            path = self._folder / f"{self._split}-{len(self._shards):05d}"
            self._shards.append(path)
            self._writer = pq.ParquetWriter(
                path, self._schema, compression="none", use_dictionary=False, write_statistics=False
            )
            self._number = self._shard_bytes = 0
        contents, names, digests = zip(*self._rows, strict=True)
        images = pa.StructArray.from_arrays([pa.array(contents, pa.binary()), pa.array(names, pa.string())], ["bytes", "path"])
        labels = pa.array([self._label] * len(self._rows), pa.int64())
        table = pa.Table.from_arrays([images, labels, pa.array(digests, pa.binary())], schema=self._schema)
        self._writer.write_table(table, row_group_size=len(self._rows))
        size_bytes, groups = self._groups.get(self._label, (0, []))
        groups.append((len(self._shards) - 1, self._number, len(self._rows)))
        self._groups[self._label] = (size_bytes + self._bytes, groups)
        self._number += 1
        self._shard_bytes += self._bytes
        self._rows, self._bytes = [], 0
        if self._shard_bytes >= SHARD_BYTES:
            self._end_shard()

    def _end_shard(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _renamed(path: Path, name: str) -> Path:
    return path.rename(path.with_name(name))
