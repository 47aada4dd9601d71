"""What do import and reading of a dataset cost, beside plain Pillow and beside Hugging Face `datasets`?

All ratios are of one run on the same files at the same size. Without --data the images are made here: noisy JPEGs of 96 pixels
in ten classes. With --data FOLDER, its `imagenette-96.tar` (class folders below train/ and val/) is read instead.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from app.storage.local import LocalArtifactStore
from worker.datasets.decode import Pixels
from worker.datasets.importing import ImportChoice, import_dataset, publish
from worker.datasets.shards.index import INDEX, DatasetIndex, index_of
from worker.datasets.shards.reader import imported_dataset
from worker.datasets.source import catalogue_of
from worker.disk_cache import DiskCache
from worker.progress import no_heartbeat

SIZE = 64
CLASSES, TRAINED, TESTED = 10, 300, 100  # of the images that are made
COPIES = 10
TURNS = 3


def main() -> None:
    options = _options()
    if options.step:
        _step(options.step, options.at)
        return
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folder = _unpacked(options.data, root / "images") if options.data else _made(root / "images")
        result = {"machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load_before": os.getloadavg()[0]}}
        result |= {"images": _count(folder), "size": SIZE} | _times(folder, root) | _memory(folder, root)
        result["lower_is_better"] = ["import_over_pillow", "read_over_datasets", "second_over_first", "memory_ratio"]
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def _times(folder: Path, root: Path) -> dict[str, Any]:
    imports: list[float] = []
    pillows: list[float] = []
    places = [root / f"import-{turn}" for turn in range(TURNS)]
    for place in places:
        pillows.append(_seconds(lambda: _pillow(folder))[0])
        imports.append(_seconds(lambda place=place: _imported(folder, place))[0])
    index, store = _opened(places[-1])
    cache = DiskCache(root / "cache", 1 << 40)
    first, pixels = _seconds(lambda: _class_of(index, store, cache))
    seconds = [_seconds(lambda: _class_of(index, store, cache))[0] for _ in range(TURNS)]
    second = sorted(seconds)[TURNS // 2]
    theirs = _datasets(places[-1] / "store" / "datasets" / index.digest, pixels)
    return {
        "import_seconds": min(imports),
        "pillow_seconds": min(pillows),
        "import_over_pillow": min(imports) / min(pillows),
        "first_read_seconds": first,
        "second_read_seconds": second,
        "second_over_first": second / first,
        "datasets_read_seconds": theirs,
        "read_over_datasets": second / theirs,
    }


def _memory(folder: Path, root: Path) -> dict[str, Any]:
    """Peak memory of a process that imports, and of one that reads a class for a task."""
    many = root / "many"
    for path in folder.rglob("*.*"):
        for copy in range(COPIES):
            target = many / path.relative_to(folder).with_name(f"{copy}-{path.name}")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(path)
    peaks: dict[str, Any] = {}
    for step in ("import", "read"):
        once, often = (_peak_mib(step, where) for where in (folder, many))
        peaks |= {f"{step}_mib": once, f"{step}_mib_{COPIES}_times": often, f"{step}_memory_ratio": often / once}
    return peaks


def _peak_mib(step: str, where: Path) -> float:
    command = [sys.executable, "-m", "bench.datasets", "--step", step, "--at", str(where)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _step(step: str, where: Path) -> None:
    import worker.stages.prepare  # noqa: F401 - what a worker process has loaded

    at = where.with_name(f"{where.name}-imported")
    if step == "import":
        _imported(where, at)
    else:
        index, store = _opened(at)
        images = imported_dataset("bench", index, store, DiskCache(at / "cache", 1 << 40), Pixels(SIZE, 3))
        images.train.images(np.flatnonzero(images.train.labels == 0)[:128])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _pillow(folder: Path) -> None:
    for path in folder.rglob("*.*"):
        with Image.open(path) as image:
            np.asarray(ImageOps.fit(image.convert("RGB"), (SIZE, SIZE), Image.Resampling.BICUBIC))


def _imported(folder: Path, at: Path) -> None:
    scratch, store = at / "scratch", LocalArtifactStore(at / "store")
    scratch.mkdir(parents=True)
    index, shards = import_dataset(catalogue_of(folder, [folder], scratch), ImportChoice(0.25), scratch)
    publish(store, index, shards, scratch, no_heartbeat)


def _opened(at: Path) -> tuple[DatasetIndex, LocalArtifactStore]:
    """The index and the store of the import at this place."""
    store = LocalArtifactStore(at / "store")
    (key,) = (key for key in store.keys("datasets/") if key.endswith(INDEX))
    with store.open(key) as stream:
        return index_of(stream.read()), store


def _class_of(index: DatasetIndex, store: LocalArtifactStore, cache: DiskCache) -> np.ndarray:
    dataset = imported_dataset("bench", index, store, cache, Pixels(SIZE, 3))
    return dataset.train.images(np.flatnonzero(dataset.train.labels == 0))


def _datasets(shards: Path, expected: np.ndarray) -> float:
    """The seconds that Hugging Face `datasets` takes for the same class from the same shards."""
    from datasets import load_dataset

    loaded = load_dataset("parquet", data_files={"train": str(shards / "train-*.parquet")}, split="train")

    def read() -> np.ndarray:
        rows = [row for row, label in enumerate(loaded["label"]) if label == 0]
        images = (loaded[row]["image"] for row in rows)
        fitted = [ImageOps.fit(image.convert("RGB"), (SIZE, SIZE), Image.Resampling.BICUBIC) for image in images]
        return np.stack([np.asarray(image) for image in fitted])

    seconds, found = _seconds(read)
    if found.shape != expected.shape:
        raise SystemExit(f"datasets reads {found.shape}, Dapple reads {expected.shape}")
    return seconds


def _seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def _made(root: Path) -> Path:
    generator = np.random.default_rng(0)
    for split, count in (("train", TRAINED), ("test", TESTED)):
        for label in range(CLASSES):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                noise = Image.fromarray(generator.integers(0, 256, (24, 32, 3), dtype=np.uint8))
                noise.resize((128, 96), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90)
    return root


def _unpacked(data: Path, root: Path) -> Path:
    with tarfile.open(data / "imagenette-96.tar") as archive:
        archive.extractall(root, filter="data")
    return root


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.rglob("*.*"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="folder with imagenette-96.tar")
    parser.add_argument("--json", type=Path, help="write the result there")
    parser.add_argument("--step", choices=["import", "read"], help=argparse.SUPPRESS)
    parser.add_argument("--at", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
