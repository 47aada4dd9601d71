"""Every format, told by its content: `source.py`, `catalogue.py` and all of `formats/`."""

import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.domain.errors import DatasetRejected, InvalidSpec
from tests.datasets import loaded
from tests.unit.worker.datasets import sources
from tests.unit.worker.datasets.sources import ARRAYS, CLASSES, ENCODED
from worker.datasets.catalogue import Catalogue
from worker.datasets.source import catalogue_of


def opened(path: Path, **options) -> Catalogue:
    scratch = path.parent.parent / f"{path.parent.name}-scratch"
    scratch.mkdir(exist_ok=True)
    return catalogue_of(path, [path.parent], scratch, **options)


def counts(found: Catalogue) -> dict[tuple[str, str | None], int]:
    keys = [(item.class_name, item.split) for item in found.items]
    return {key: keys.count(key) for key in keys}


@pytest.mark.parametrize("make", ENCODED.values(), ids=ENCODED)
def test_every_format_of_the_same_files_is_the_same_dataset(tmp_path, make):
    path = make(tmp_path / "animals")
    found = opened(path)
    assert (found.classes, found.tested) == (CLASSES, True)
    assert counts(found) == {(name, split): n for split, n in sources.SPLITS.items() for name in CLASSES}
    assert sorted(found.files.read(item.path) for item in found.items) == sorted(sources.pictures().values())
    assert [found.files.size(item.path) for item in found.items] == [len(found.files.read(item.path)) for item in found.items]
    assert len({item.name for item in found.items}) == len(found.items)


@pytest.mark.slow
def test_datasets_of_the_same_files_have_one_digest_and_equal_pixels(tmp_path):
    digests, pixels = set(), []
    for name, make in ENCODED.items():
        (tmp_path / name).mkdir()
        dataset = loaded(make(tmp_path / name / "animals"), channels=3)
        digests.add(dataset.digest)
        pixels.append(np.concatenate([split.images(range(len(split))) for split in (dataset.train, dataset.test)]))
    assert len(digests) == 1
    assert all(np.array_equal(each, pixels[0]) for each in pixels)


@pytest.mark.parametrize("make", ARRAYS.values(), ids=ARRAYS)
def test_arrays_have_the_pixels_and_labels_that_were_saved(tmp_path, make):
    path = make(tmp_path / "animals")
    side = 8 if path.suffix == ".npz" else 32
    found = opened(path)
    assert (found.classes, found.tested) == (CLASSES, True)
    assert counts(found) == {(name, split): n for split, n in sources.SPLITS.items() for name in CLASSES}
    expected = {(name, sources.png(sources.pixels_of(split, name, number, side))) for split, name, number in sources.pictures()}
    assert {(item.class_name, found.files.read(item.path)) for item in found.items} == expected


def test_idx_files_have_numbers_as_classes(tmp_path):
    found = opened(sources.idx(tmp_path / "digits"))
    assert (found.classes, found.tested) == (("0", "1"), True)
    images, labels = sources.arrays("test")
    expected = {(str(label), sources.png(image[..., 0])) for image, label in zip(images, labels, strict=True)}
    assert {(item.class_name, found.files.read(item.path)) for item in found.items if item.split == "test"} == expected


def test_only_chosen_classes_are_listed_in_every_format(tmp_path):
    for name, make in {**ENCODED, **ARRAYS}.items():
        (tmp_path / name).mkdir()
        path = make(tmp_path / name / "animals")
        found = opened(path, classes=("dog",))
        assert ({item.class_name for item in found.items}, found.classes) == ({"dog"}, CLASSES), name
        with pytest.raises(InvalidSpec, match="no class 'horse'"):
            opened(path, classes=("horse",))


def test_a_single_split_is_read_as_the_training_images_and_told(tmp_path):
    path = sources.plain_parquet(tmp_path / "animals") / "test.parquet"
    found = opened(path)
    assert (found.tested, {item.split for item in found.items}) == (False, {None})
    assert found.doubts == ("there is only the test split: its images are read as the training images",)


def test_of_several_splits_for_testing_one_is_read_and_the_others_are_told(tmp_path):
    root = sources.plain_parquet(tmp_path / "animals")
    (root / "validation.parquet").write_bytes((root / "test.parquet").read_bytes())
    found = opened(root)
    assert found.left_out == ("another split than test: validation.parquet",)
    assert len(found.items) == 12


def test_a_test_split_without_labels_is_not_read(tmp_path):
    root = sources.plain_parquet(tmp_path / "animals")
    rows = {"picture": [b"x"], "class": pa.array([None], pa.string()), "id": [0]}
    (root / "test.parquet").rename(root / "valid.parquet")
    pq.write_table(pa.table(rows), root / "test.parquet")
    found = opened(root)
    assert found.left_out == ("a split without labels: test.parquet",)
    assert {item.split for item in found.items} == {"train", "test"}


def test_a_table_whose_split_is_unclear_is_refused(tmp_path):
    root = sources.plain_parquet(tmp_path / "animals")
    (root / "more.parquet").write_bytes((root / "test.parquet").read_bytes())
    with pytest.raises(DatasetRejected, match=r"more\.parquet stands beside test\.parquet, train\.parquet: which split is it"):
        opened(root)


def test_rows_without_image_or_label_are_told(tmp_path):
    rows = {"image": [b"1", None, b"3"], "label": ["cat", "cat", None]}
    pq.write_table(pa.table(rows, schema=pa.schema({"image": pa.binary(), "label": pa.string()})), tmp_path / "t.parquet")
    found = opened(tmp_path / "t.parquet")
    assert (len(found.items), found.left_out) == (1, ("rows without an image: 1", "rows without a label: 1"))


def test_columns_that_are_unclear_are_refused_with_what_there_is(tmp_path):
    pq.write_table(pa.table({"image": [b"1"], "colour": ["a"], "shape": ["b"]}), tmp_path / "t.parquet")
    with pytest.raises(DatasetRejected, match=r"which column holds the labels\? it has colour, shape; name it 'label'"):
        opened(tmp_path / "t.parquet")
    pq.write_table(pa.table({"label": [1]}), tmp_path / "u.parquet")
    with pytest.raises(DatasetRejected, match=r"which column holds the images\? no column can hold images"):
        opened(tmp_path / "u.parquet")


def test_files_with_different_class_names_are_refused(tmp_path):
    root = sources.hugging_face(tmp_path / "animals")
    path = root / "data" / "test-00000-of-00001.parquet"
    table = pq.read_table(path)
    names = {"info": {"features": {"label": {"names": ["dog", "cat"], "_type": "ClassLabel"}}}}
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(names)}), path)
    with pytest.raises(DatasetRejected, match="have different class names"):
        opened(root)


def test_a_label_beyond_the_class_names_is_refused(tmp_path):
    root = sources.webdataset(tmp_path / "animals")
    (root / "classnames.txt").write_text("cat")
    with pytest.raises(DatasetRejected, match="a label is 1, but there are only 1 class names"):
        opened(root)


def test_a_single_tar_of_samples_is_a_webdataset(tmp_path):
    root = sources.webdataset_with_json(tmp_path / "animals")
    found = opened(root / "train.tar")
    assert (found.classes, len(found.items), found.tested) == (CLASSES, 8, False)


@pytest.mark.parametrize(("label", "why"), [(b"\xff", "cannot be read as a label"), (b"x" * 70_000, "is no label")])
def test_a_label_that_is_none_is_refused_by_name(tmp_path, label, why):
    with tarfile.open(tmp_path / "train.tar", "w") as archive:
        sources.put(archive, "0.png", b"x")
        sources.put(archive, "0.cls", label)
    with pytest.raises(DatasetRejected, match=rf"train\.tar/0\.cls {why}"):
        opened(tmp_path / "train.tar")


def test_listed_files_that_are_missing_are_told(tmp_path):
    root = sources.metadata_csv(tmp_path / "animals")
    (root / "train" / "cat0.png").unlink()
    found = opened(root)
    assert found.left_out == ("listed files that are not there: 1 (cat0.png)",)
    assert "labels are read from test/metadata.csv, train/metadata.csv" in found.doubts[0]


def test_a_file_listed_under_two_classes_is_refused(tmp_path):
    root = sources.jsonl_with_splits(tmp_path / "animals")
    line = json.dumps({"path": "images/traincat0.png", "category": "dog", "split": "train"})
    (root / "labels.jsonl").write_text((root / "labels.jsonl").read_text() + f"\n{line}")
    with pytest.raises(DatasetRejected, match=r"images/traincat0\.png is listed twice, as 'cat' and as 'dog'"):
        opened(root)


def test_a_list_may_name_files_without_their_suffix(tmp_path):
    (tmp_path / "set" / "train").mkdir(parents=True)
    for number in range(2):
        (tmp_path / "set" / "train" / f"a{number}.png").write_bytes(b"x")
    (tmp_path / "set" / "labels.csv").write_text("id,breed\na0,beagle\na1,poodle\n")
    found = opened(tmp_path / "set")
    assert {item.name: item.class_name for item in found.items} == {"train/a0.png": "beagle", "train/a1.png": "poodle"}
    assert opened(tmp_path / "set" / "labels.csv").classes == ("beagle", "poodle")


def test_class_folders_beside_other_files_stay_class_folders(tmp_path):
    root = sources.folder(tmp_path / "animals")
    np.savez(root / "features.npz", features=np.zeros(3))
    pq.write_table(pa.table({"x": [1]}), root / "notes.parquet")
    (root / "licence.csv").write_text("a,b\n1,2\n")
    assert (opened(root).classes, len(opened(root).items)) == (CLASSES, 12)


def test_datasets_of_different_formats_in_one_folder_are_refused(tmp_path):
    root = sources.idx(tmp_path / "both")
    pq.write_table(pa.table({"image": [b"1"], "label": ["a"]}), root / "train.parquet")
    with pytest.raises(DatasetRejected, match=r"train\.parquet, t10k-images-idx3-ubyte are datasets of different formats"):
        opened(root)


def made(name: str, content: bytes):
    def make(tmp_path: Path) -> Path:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
        return tmp_path / name.split("/")[0]

    return make


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (made("set/data_batch_1", b"\x80\x02}q\x01"), "Python pickles are not read.*download the binary version of CIFAR"),
        (made("x.h5", b"\x89HDF\r\n\x1a\nrest"), "HDF5 files are not read"),
        (made("x.npy", b"\x93NUMPY\x01\x00"), "a single npy file has no labels"),
        (made("x.rar", b"Rar!\x1a\x07\x00"), "RAR files are not read"),
        (made("x.xz", b"\xfd7zXZ\x00rest"), "xz files are not read"),
        (made("x.txt", b"hello"), "no dataset is recognised in it"),
        (made("x.csv", b"a,b\n1,2\n"), "no dataset is recognised in it"),
        (made("set/inner.zip", b"PK\x03\x04"), r"there are no images but inner\.zip: give the archive itself"),
        (made("x.parquet", b"PAR1 and no footer"), "not a readable parquet file"),
        (made("x.gz", b"\x1f\x8b\x08\x00rest"), "is a gzip file without a tar in it"),
    ],
)
def test_what_is_not_read_is_refused_with_what_to_do(tmp_path, make, why):
    with pytest.raises(DatasetRejected, match=why):
        opened(make(tmp_path))


def test_images_alone_are_refused_with_where_labels_belong(tmp_path):
    root = sources.idx(tmp_path / "digits")
    (root / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DatasetRejected, match="t10k-images-idx3-ubyte has 4 images; which file has their labels"):
        opened(root)
    with pytest.raises(DatasetRejected, match="name the folder that has both files"):
        opened(root / "train-images-idx3-ubyte.gz")


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"images": np.zeros((3, 4, 4)), "labels": np.zeros(3, int)}, "has the dtype float64; convert it"),
        ({"images": np.zeros((3, 4, 4), np.uint8)}, "which array has their labels"),
        ({"images": np.zeros((3, 4, 4), np.uint8), "labels": np.zeros(3)}, "labels are whole numbers or names"),
        ({"labels": np.zeros(3, int)}, "none has the shape of images"),
        ({"images": np.zeros((3, 5, 4, 7), np.uint8), "labels": np.zeros(3, int)}, "images have 1, 3 or 4 channels"),
        ({"images": np.array([{}]), "labels": np.zeros(1, int)}, "not a readable npz"),
    ],
)
def test_arrays_that_are_no_dataset_are_refused(tmp_path, arrays, why):
    np.savez(tmp_path / "a.npz", allow_pickle=True, **arrays)
    with pytest.raises(DatasetRejected, match=why):
        opened(tmp_path / "a.npz")


def test_a_cut_idx_file_is_refused(tmp_path):
    root = sources.idx(tmp_path / "digits")
    path = root / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DatasetRejected, match="has 271 bytes, but its header describes 272"):
        opened(root)


def test_an_npz_in_a_zip_of_a_folder_is_not_taken_for_images(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(DatasetRejected, match="no class folders with images"):
        opened(tmp_path / "a.zip")
