import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.domain.dataset_uri import DatasetUri
from app.domain.errors import DatasetRejected, InvalidSpec
from worker.datasets.base import Dataset, require_images
from worker.datasets.load import load, select
from worker.datasets.readers import image_folder


def loaded(path: Path, **options) -> Dataset:
    uri = DatasetUri("file", path=path)
    settings = {"image_size": 8, "channels": 1, "holdout_fraction": 0.25} | options
    return load(uri, roots=[path.parent], **settings)


def all_train(dataset: Dataset) -> np.ndarray:
    return dataset.train.images(np.arange(len(dataset.train)))


def test_a_folder_per_class_is_a_dataset(flowers):
    dataset = loaded(flowers)
    assert dataset.classes == ("daisy", "rose", "tulip")
    assert np.bincount(dataset.train.labels).tolist() == [6, 6, 6]
    assert np.bincount(dataset.test.labels).tolist() == [2, 2, 2]
    assert set(dataset.train.names).isdisjoint(dataset.test.names)


def test_labels_names_and_pixels_belong_together(flowers):
    dataset = loaded(flowers)
    for index, (label, name) in enumerate(zip(dataset.train.labels, dataset.train.names, strict=True)):
        assert name.startswith(dataset.classes[label])
        assert np.array_equal(dataset.train.images([index])[0, :, :, 0], np.asarray(Image.open(flowers / name)))


def test_the_training_split_never_sees_a_held_out_image(flowers):
    honest = loaded(flowers)
    for name in honest.test.names:
        Image.new("L", (8, 8), 255).save(flowers / name)
    assert np.array_equal(all_train(loaded(flowers)), all_train(honest))


@pytest.mark.parametrize("test_name", ["test", "val"])
def test_a_test_folder_is_the_test_split(flowers, tmp_path, test_name):
    root = tmp_path / "splits"
    shutil.copytree(flowers, root / "train")
    shutil.copytree(flowers, root / test_name)
    dataset = loaded(root)
    assert (len(dataset.train), len(dataset.test)) == (24, 24)
    assert all(name.startswith("train/") for name in dataset.train.names)


def test_images_are_read_on_demand_when_memory_would_not_hold_them(flowers, monkeypatch):
    kept = loaded(flowers)
    monkeypatch.setattr(image_folder, "MAX_KEPT_BYTES", 0)
    assert np.array_equal(all_train(loaded(flowers)), all_train(kept))


def test_no_images_of_no_indices(flowers, monkeypatch):
    monkeypatch.setattr(image_folder, "MAX_KEPT_BYTES", 0)
    assert loaded(flowers).test.images([]).shape == (0, 8, 8, 1)


def test_hidden_files_and_files_beside_the_classes_are_no_images(flowers):
    for path in ("README.md", "rose/.DS_Store", "rose/Thumbs.db", ".cache/x/1.png"):
        (flowers / path).parent.mkdir(parents=True, exist_ok=True)
        (flowers / path).write_text("no image")
    assert loaded(flowers).classes == ("daisy", "rose", "tulip")
    assert loaded(flowers).bad_files == ()


def test_a_few_bad_files_are_left_out_and_named(flowers):
    (flowers / "rose" / "3.png").write_bytes(b"no image")
    dataset = loaded(flowers, max_bad_fraction=0.1)
    assert [bad.split(":")[0] for bad in dataset.bad_files] == ["rose/3.png"]
    assert len(dataset.train) + len(dataset.test) == 23


def test_more_bad_files_than_allowed_reject_the_dataset_and_are_counted(flowers):
    for index in range(7):
        (flowers / "rose" / f"{index}.png").write_bytes(b"no image")
    with pytest.raises(DatasetRejected, match=r"7 of 24 images .* rose/0\.png: .*…"):
        loaded(flowers)


def test_a_class_without_a_training_image_is_named(flowers, tmp_path):
    root = tmp_path / "splits"
    shutil.copytree(flowers, root / "train")
    shutil.copytree(flowers, root / "test")
    shutil.rmtree(root / "train" / "rose")
    with pytest.raises(DatasetRejected, match="class 'rose' has 0 training images"):
        loaded(root)


def test_a_class_too_small_for_the_job_is_named(flowers):
    with pytest.raises(DatasetRejected, match="class 'daisy' has 6 training images beside those held out; at least 7 are"):
        require_images(loaded(flowers), 7)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("no zip"), lambda path: path.mkdir()])
def test_what_is_no_image_folder_is_rejected(tmp_path, make):
    path = tmp_path / "thing"
    make(path)
    with pytest.raises(DatasetRejected):
        loaded(path)


def test_a_folder_outside_the_roots_is_refused(flowers, tmp_path):
    uri = DatasetUri("file", path=flowers)
    with pytest.raises(InvalidSpec, match="dataset_uri"):
        load(uri, roots=[tmp_path / "elsewhere"], image_size=8, channels=1, holdout_fraction=0.25)


def test_train_beside_a_folder_that_is_no_split_is_rejected(flowers, tmp_path):
    shutil.copytree(flowers, tmp_path / "splits" / "train")
    shutil.copytree(flowers, tmp_path / "splits" / "extra")
    with pytest.raises(DatasetRejected, match="extra/"):
        loaded(tmp_path / "splits")


def test_a_test_folder_alone_is_rejected(flowers, tmp_path):
    shutil.copytree(flowers, tmp_path / "splits" / "test")
    with pytest.raises(DatasetRejected, match="no train/"):
        loaded(tmp_path / "splits")


def test_a_link_out_of_the_folder_is_rejected(flowers, tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "secret.png")
    (flowers / "rose" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DatasetRejected, match=r"rose/link\.png is a symbolic link"):
        loaded(flowers)


def test_a_link_inside_the_folder_is_followed(flowers):
    (flowers / "rose" / "link.png").symlink_to(flowers / "rose" / "0.png")
    assert "rose/link.png" in loaded(flowers).train.names + loaded(flowers).test.names


def test_a_link_to_a_parent_folder_does_not_loop_forever(flowers):
    (flowers / "rose" / "loop").symlink_to(flowers)
    with pytest.raises(DatasetRejected, match="nested"):
        loaded(flowers)


def test_the_digest_changes_with_one_byte_and_not_with_size_or_split(flowers):
    before = loaded(flowers).digest
    assert loaded(flowers, image_size=4, holdout_fraction=0.5).digest == before
    Image.new("L", (8, 8)).save(flowers / "rose" / "0.png")
    assert loaded(flowers).digest != before


def test_progress_reaches_the_number_of_files(flowers):
    seen = []
    loaded(flowers, on_file=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 24) for done in range(1, 25)]


def test_selected_classes_are_relabelled_in_the_order_given(flowers):
    dataset = loaded(flowers)
    chosen = select(dataset, ["tulip", "daisy"])
    assert chosen.classes == ("tulip", "daisy")
    assert [chosen.classes[label] for label in chosen.train.labels] == [name.split("/")[0] for name in chosen.train.names]
    assert set(chosen.train.labels) == set(chosen.test.labels) == {0, 1}


def test_no_selection_keeps_every_class(flowers):
    dataset = loaded(flowers)
    assert select(dataset, None) is dataset
