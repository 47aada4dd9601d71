"""One small dataset in every format that is read."""

import csv
import gzip
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

CLASSES = ("cat", "dog")
SPLITS = {"train": 4, "test": 2}  # images of each class
Pictures = Mapping[tuple[str, str, int], bytes]  # by split, class and number


def pixels_of(split: str, name: str, number: int, side: int = 8) -> np.ndarray:
    seed = [list(SPLITS).index(split), CLASSES.index(name), number]
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def pictures() -> Pictures:
    return {
        (split, name, number): png(pixels_of(split, name, number))
        for split, count in SPLITS.items()
        for name in CLASSES
        for number in range(count)
    }


def folder(root: Path) -> Path:
    for (split, name, number), content in pictures().items():
        path = root / split / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def zipped(root: Path) -> Path:
    with zipfile.ZipFile(root.with_suffix(".zip"), "w") as archive:
        for (split, name, number), content in pictures().items():
            archive.writestr(f"animals/{split}/{name}/{number}.png", content)
    return root.with_suffix(".zip")


def tarred(root: Path, compression: Literal["", "gz", "bz2"] = "") -> Path:
    """The suffix says nothing, so that the content must."""
    path = root.with_suffix(".data")
    modes: dict[str, Literal["w:", "w:gz", "w:bz2"]] = {"": "w:", "gz": "w:gz", "bz2": "w:bz2"}
    with tarfile.open(path, modes[compression]) as archive:
        for (split, name, number), content in pictures().items():
            put(archive, f"animals/{split}/{name}/{number}.png", content)
    return path


def zstd(root: Path) -> Path:
    plain = tarred(root).read_bytes()
    path = root.with_suffix(".tar.zst")
    with pa.OSFile(str(path), "wb") as raw, pa.CompressedOutputStream(raw, "zstd") as stream:
        stream.write(plain)
    return path


def webdataset(root: Path) -> Path:
    root.mkdir()
    for split in SPLITS:
        with tarfile.open(root / f"animals-{split}-000000.tar", "w") as archive:
            for number, ((_, name, _), content) in enumerate(of_split(split).items()):
                put(archive, f"{number:06d}.png", content)
                put(archive, f"{number:06d}.cls", str(CLASSES.index(name)).encode())
    (root / "classnames.txt").write_text("\n".join(CLASSES))
    return root


def webdataset_with_json(root: Path) -> Path:
    root.mkdir()
    for split in SPLITS:
        with tarfile.open(root / f"{split}.tar", "w") as archive:
            for number, ((_, name, _), content) in enumerate(of_split(split).items()):
                put(archive, f"a/{number}.png", content)
                put(archive, f"a/{number}.json", json.dumps({"label": name, "caption": "x"}).encode())
    return root


def hugging_face(root: Path) -> Path:
    features = {"image": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image), ("label", pa.int64())])
    schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    (root / "data").mkdir(parents=True)
    for split in SPLITS:
        found = of_split(split)
        rows = {
            "image": [{"bytes": content, "path": "image.png"} for content in found.values()],
            "label": [CLASSES.index(name) for _, name, _ in found],
        }
        pq.write_table(pa.table(rows, schema=schema), root / "data" / f"{split}-00000-of-00001.parquet")
    return root


def plain_parquet(root: Path) -> Path:
    root.mkdir()
    for split in SPLITS:
        found = of_split(split)
        rows = {"picture": list(found.values()), "class": [name for _, name, _ in found], "id": list(range(len(found)))}
        pq.write_table(pa.table(rows), root / f"{split}.parquet")
    return root


def metadata_csv(root: Path) -> Path:
    """The list in each split's folder, as Hugging Face's image folders have it."""
    for split in SPLITS:
        (root / split).mkdir(parents=True)
        with (root / split / "metadata.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["file_name", "label"])
            for (_, name, number), content in of_split(split).items():
                (root / split / f"{name}{number}.png").write_bytes(content)
                rows.writerow([f"{name}{number}.png", name])
    return root


def jsonl_with_splits(root: Path) -> Path:
    (root / "images").mkdir(parents=True)
    lines = []
    for (split, name, number), content in pictures().items():
        (root / "images" / f"{split}{name}{number}.png").write_bytes(content)
        lines.append(json.dumps({"path": f"images/{split}{name}{number}.png", "category": name, "split": split}))
    (root / "labels.jsonl").write_text("\n".join(lines))
    return root


def put(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def of_split(split: str) -> Pictures:
    return {key: content for key, content in pictures().items() if key[0] == split}


# The same encoded images, so that the datasets have one digest.
ENCODED: Mapping[str, Callable[[Path], Path]] = {
    "folder": folder,
    "zip": zipped,
    "tar": tarred,
    "tar.gz": lambda root: tarred(root, "gz"),
    "tar.bz2": lambda root: tarred(root, "bz2"),
    "tar.zst": zstd,
    "WebDataset": webdataset,
    "WebDataset with JSON": webdataset_with_json,
    "Hugging Face parquet": hugging_face,
    "plain parquet": plain_parquet,
    "metadata.csv": metadata_csv,
    "JSON Lines with splits": jsonl_with_splits,
}


def arrays(split: str, side: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """The pixels [n, side, side, 3] and labels [n] of a split."""
    keys = list(of_split(split))
    return np.stack([pixels_of(*key, side) for key in keys]), np.array([CLASSES.index(name) for _, name, _ in keys], np.uint8)


def npz(root: Path) -> Path:
    (train, train_labels), (test, test_labels) = arrays("train"), arrays("test")
    path = root.with_suffix(".npz")
    np.savez(path, x_train=train, y_train=train_labels, x_test=test, y_test=test_labels[:, None], class_names=np.array(CLASSES))
    return path


def idx(root: Path) -> Path:
    """Grey, one split compressed and one not."""
    root.mkdir()
    for split, prefix, opened in (("train", "train", gzip.open), ("test", "t10k", open)):
        images, labels = arrays(split)
        suffix = ".gz" if opened is gzip.open else ""
        with opened(root / f"{prefix}-images-idx3-ubyte{suffix}", "wb") as file:
            file.write(struct.pack(">I3I", 0x803, *images.shape[:3]) + images[..., 0].tobytes())
        with opened(root / f"{prefix}-labels-idx1-ubyte{suffix}", "wb") as file:
            file.write(struct.pack(">2I", 0x801, len(labels)) + labels.tobytes())
    return root


def cifar(root: Path, label_bytes: int = 1) -> Path:
    inner = root / f"cifar-{label_bytes}"
    inner.mkdir(parents=True)
    for split, name in (
        ("train", "data_batch_1.bin" if label_bytes == 1 else "train.bin"),
        ("test", "test_batch.bin" if label_bytes == 1 else "test.bin"),
    ):
        images, labels = arrays(split, 32)
        coarse = np.zeros((len(labels), label_bytes - 1), np.uint8)
        rows = np.concatenate([coarse, labels[:, None], images.transpose(0, 3, 1, 2).reshape(len(images), -1)], axis=1)
        (inner / name).write_bytes(rows.tobytes())
    (inner / ("batches.meta.txt" if label_bytes == 1 else "fine_label_names.txt")).write_text("\n".join(CLASSES) + "\n\n")
    return root


def cifar_100_in_tar(root: Path) -> Path:
    cifar(root, 2)
    with tarfile.open(root.with_suffix(".tgz"), "w:gz") as archive:
        archive.add(root, "cifar")
    return root.with_suffix(".tgz")


ARRAYS: Mapping[str, Callable[[Path], Path]] = {"npz": npz, "CIFAR-10": cifar, "CIFAR-100 in tar.gz": cifar_100_in_tar}
