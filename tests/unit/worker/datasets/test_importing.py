"""Import into shards and reading them: importing, fingerprint, and all of shards/."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from app.domain.errors import ArtifactDamaged, DatasetRejected
from app.storage.local import LocalArtifactStore
from tests.datasets import loaded
from tests.unit.worker.datasets import sources
from worker.datasets.decode import Picture, Pixels
from worker.datasets.fingerprint import source_fingerprint
from worker.datasets.importing import ImportChoice, import_dataset, publish
from worker.datasets.shards import writer
from worker.datasets.shards.index import TEST, TRAIN, DatasetIndex, index_of
from worker.datasets.shards.reader import ImportedImages, imported_dataset
from worker.datasets.shards.statistics import ImportStatistics
from worker.datasets.source import catalogue_of
from worker.disk_cache import DiskCache
from worker.progress import no_heartbeat

FORM = Pixels(8, 3)


def imported(path: Path, fraction: float = 0.25) -> tuple[DatasetIndex, list[Path], LocalArtifactStore]:
    """The import of a dataset, published into a store beside it."""
    scratch, store = path.parent / "made", LocalArtifactStore(path.parent / "store")
    scratch.mkdir(exist_ok=True)
    index, shards = import_dataset(catalogue_of(path, [path.parent], scratch), ImportChoice(fraction), scratch)
    publish(store, index, shards, scratch, no_heartbeat)
    return index, shards, store


def test_a_shard_has_the_bytes_labels_and_names_of_its_split_and_the_layout_of_hugging_face(tmp_path):
    index, shards, store = imported(sources.folder(tmp_path / "animals"))
    assert [shard.name for shard in shards] == ["train-00000-of-00001.parquet", "test-00000-of-00001.parquet"]
    assert sorted(store.keys("datasets/")) == sorted(
        f"datasets/{index.digest}/{name}" for name in [*(s.name for s in shards), "index.json"]
    )
    table = pq.read_table(shards[0])
    rows = table.to_pylist()
    found = {(row["image"]["path"], row["label"]): row["image"]["bytes"] for row in rows}
    assert found == {
        (f"train/{name}/{number}.png", sources.CLASSES.index(name)): content
        for (split, name, number), content in sources.pictures().items()
        if split == TRAIN
    }
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["label"] == {"names": list(sources.CLASSES), "_type": "ClassLabel"}
    assert [row["label"] for row in rows] == [0] * 4 + [1] * 4
    assert [row["sha256"] for row in rows[:4]] == sorted(row["sha256"] for row in rows[:4])


@pytest.mark.slow
def test_hugging_face_datasets_loads_the_shards_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import load_dataset

    index, _, store = imported(sources.folder(tmp_path / "animals"))
    found = load_dataset(str(tmp_path / "store" / "datasets" / index.digest), cache_dir=str(tmp_path / "hf"))
    assert {name: len(split) for name, split in found.items()} == {"train": 8, "test": 4}
    assert found["train"].features["label"].names == ["cat", "dog"]
    ours = imported_dataset("x", index, store, DiskCache(tmp_path / "cache", 1 << 30), FORM).test.images(range(4))
    assert np.array_equal(np.stack([np.asarray(image) for image in found["test"]["image"]]), ours)


def test_the_index_survives_its_json_and_says_where_each_class_lies(tmp_path):
    index, shards, _ = imported(sources.folder(tmp_path / "animals"))
    assert index_of(index.json.encode()) == index
    assert (index.names, index.counts(TRAIN), index.counts(TEST)) == (("cat", "dog"), [4, 4], [2, 2])
    (group,) = index.classes[1].train.groups
    assert (group.shard, group.number, group.rows) == (shards[0].name, 1, 4)
    with pytest.raises(ValueError, match="format 99"):
        index_of(index.json.replace('"format":1', '"format":99').encode())


def test_many_row_groups_and_shards_are_read_as_one_class(tmp_path, monkeypatch):
    path = sources.folder(tmp_path / "animals")
    index, _, store = imported(path)
    whole = imported_dataset("x", index, store, DiskCache(tmp_path / "cache", 1 << 30), FORM)
    expected = whole.train.images(range(8))
    monkeypatch.setattr(writer, "GROUP_ROWS", 1)
    monkeypatch.setattr(writer, "SHARD_BYTES", 1)
    index, shards, store = imported(path)
    assert (len(shards), index.digest) == (12, whole.digest)
    split = imported_dataset("x", index, store, DiskCache(tmp_path / "other", 1 << 30), FORM)
    assert np.array_equal(split.train.images(range(8)), expected)
    assert np.array_equal(split.train.images([7, 0, 3, 0]), expected[[7, 0, 3, 0]])
    assert list(split.train.names) == list(whole.train.names)


def test_a_class_is_decoded_once_for_all_jobs_and_only_when_it_is_asked_for(tmp_path, monkeypatch):
    index, _, store = imported(sources.folder(tmp_path / "animals"))
    opened = []
    real = store.open
    monkeypatch.setattr(store, "open", lambda key: opened.append(key) or real(key))
    cache = DiskCache(tmp_path / "cache", 1 << 30)
    for _ in range(2):
        dataset = imported_dataset("x", index, store, cache, FORM)
        dataset.train.images(np.flatnonzero(dataset.train.labels == 1))
    assert opened == [f"datasets/{index.digest}/train-00000-of-00001.parquet"]
    assert (cache.misses, cache.hits) == (1, 1)


def test_without_a_disk_for_the_cache_images_are_decoded_in_memory(tmp_path):
    index, _, store = imported(sources.folder(tmp_path / "animals"))
    (tmp_path / "file").touch()
    broken = imported_dataset("x", index, store, DiskCache(tmp_path / "file", 1 << 30), FORM)
    sound = imported_dataset("x", index, store, DiskCache(tmp_path / "cache", 1 << 30), FORM)
    assert np.array_equal(broken.test.images(range(4)), sound.test.images(range(4)))


def test_a_damaged_shard_is_told(tmp_path):
    index, _, store = imported(sources.folder(tmp_path / "animals"))
    key = f"datasets/{index.digest}/train-00000-of-00001.parquet"
    (tmp_path / "cut").write_bytes(b"PAR1 and nothing more PAR1")
    store.put(key, tmp_path / "cut", "")
    images = ImportedImages(index, store, DiskCache(tmp_path / "cache", 1 << 30), FORM)
    with pytest.raises(ArtifactDamaged, match=r"train-00000-of-00001\.parquet is damaged"):
        images.of_class(0, TRAIN)


def test_an_image_and_its_copies_are_held_out_together_whatever_they_are_called(tmp_path):
    root = tmp_path / "set"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for number in range(12):
            Image.new("L", (8, 8), number // 2 * 20 + (name == "b")).save(root / name / f"{number}.png")
    index, _, store = imported(root)
    dataset = imported_dataset("x", index, store, DiskCache(tmp_path / "cache", 1 << 30), FORM)
    assert set(dataset.train.names).isdisjoint(dataset.test.names)
    assert len(dataset.test) > 0
    assert (index.report.repeated, index.report.leaked) == (12, 0)


def test_pictures_of_the_test_split_that_are_trained_on_are_named(tmp_path):
    root = sources.folder(tmp_path / "animals")
    with Image.open(root / "train" / "cat" / "0.png") as image:
        image.save(root / "test" / "cat" / "same.bmp")
    report = imported(root)[0].report
    assert (report.leaked, report.leaks, report.repeated) == (1, ("test/cat/same.bmp",), 0)


def test_the_report_tells_what_the_files_hold(tmp_path):
    root = sources.folder(tmp_path / "animals")
    Image.new("L", (30, 5)).save(root / "train" / "cat" / "wide.png")
    report = imported(root)[0].report
    assert (report.images, report.smallest, report.largest, report.side) == (13, (8, 8), (30, 5), 8)
    assert (report.modes, report.colour) == ({"L": 1, "RGB": 12}, True)
    assert report.size_bytes == sum(path.stat().st_size for path in root.rglob("*.*"))


def test_grey_photos_stored_in_colour_are_grey():
    statistics = ImportStatistics()
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 1), dtype=np.uint8).repeat(3, axis=2)
    statistics.add(Picture(noise, 32, 32, "RGB"), 1, bytes(32))
    assert not statistics.colour
    noise = noise.copy()
    noise[3, 3, 0] ^= 64
    statistics.add(Picture(noise, 32, 32, "RGB"), 1, bytes(32))
    assert statistics.colour


def test_a_source_is_imported_once_until_a_file_of_it_changes(tmp_path, monkeypatch):
    root = sources.folder(tmp_path / "animals")
    long_ago = time.time() - 60
    settle(root, long_ago)
    monkeypatch.setattr("worker.datasets.fingerprint.SETTLED_SECONDS", 0.0)  # ctime cannot be set
    reads = []
    before = loaded(root, report=lambda *done: reads.append(done))
    count = len(reads)
    again = loaded(root, report=lambda *done: reads.append(done))
    assert (again.digest, len(reads) - count <= 1) == (before.digest, True)
    Image.new("RGB", (8, 8)).save(root / "train" / "cat" / "0.png")
    assert loaded(root).digest != before.digest


def test_what_changed_a_moment_ago_has_no_fingerprint(tmp_path):
    root = sources.folder(tmp_path / "animals")
    assert source_fingerprint(root, [tmp_path]) is None
    assert source_fingerprint(root / "train" / "cat" / "0.png", [tmp_path]) is None


def settle(root: Path, at: float) -> None:
    for path in root.rglob("*"):
        os.utime(path, (at, at))


def test_a_class_whose_files_are_all_damaged_is_named(tmp_path):
    root = sources.folder(tmp_path / "animals")
    for path in (root / "train" / "dog").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(DatasetRejected, match="class 'dog' has 0 training images"):
        loaded(root, max_bad_fraction=0.5)
