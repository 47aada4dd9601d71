import os
import shutil

import numpy as np
import pytest
from PIL import Image

from app.domain.errors import DatasetRejected, InvalidSpec
from tests.datasets import files_of, loaded
from worker.datasets.base import Dataset, require_images, select
from worker.datasets.decode import BadImage
from worker.datasets.readers.folder import FolderFiles


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
    names = files_of(dataset.train, flowers)
    for index, (label, name) in enumerate(zip(dataset.train.labels, names, strict=True)):
        assert name.startswith(dataset.classes[label])
        assert np.array_equal(dataset.train.images([index])[0, :, :, 0], np.asarray(Image.open(flowers / name)))


@pytest.mark.parametrize("test_name", ["test", "val"])
def test_a_test_folder_is_the_test_split(flowers, tmp_path, test_name):
    root = tmp_path / "splits"
    shutil.copytree(flowers, root / "train")
    shutil.copytree(flowers, root / test_name)
    dataset = loaded(root)
    assert (len(dataset.train), len(dataset.test)) == (24, 24)
    assert list(dataset.train.names) == list(dataset.test.names)


def test_no_images_of_no_indices(flowers):
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


def test_reading_stops_at_the_first_bad_file_above_what_is_allowed(flowers):
    for index in range(7):
        (flowers / "rose" / f"{index}.png").write_bytes(b"no image")
    seen = []
    told = (
        r"files that cannot be used: 2 of the first 10 \(1 of 24 may be left out, 5\.0%\); repair or remove them: "
        r"rose/0\.png: .*; rose/1\.png: "
    )
    with pytest.raises(DatasetRejected, match=told):
        loaded(flowers, max_bad_fraction=0.05, report=lambda done, total: seen.append(done))
    assert max(seen) == 9


@pytest.mark.slow
def test_another_limit_of_pixels_makes_other_data(flowers):
    Image.new("L", (20, 20)).save(flowers / "rose" / "0.png")
    small, large = (loaded(flowers, max_bad_fraction=0.05, max_pixels=pixels) for pixels in (399, 400))
    assert (len(small.bad_files), len(large.bad_files)) == (1, 0)
    assert small.digest != large.digest


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
    with pytest.raises(InvalidSpec, match="dataset_uri"):
        loaded(flowers, roots=[tmp_path / "elsewhere"])


def test_train_beside_a_folder_that_is_no_split_is_rejected(flowers, tmp_path):
    shutil.copytree(flowers, tmp_path / "splits" / "train")
    shutil.copytree(flowers, tmp_path / "splits" / "extra")
    with pytest.raises(DatasetRejected, match="extra/"):
        loaded(tmp_path / "splits")


def test_a_test_folder_alone_is_rejected(flowers, tmp_path):
    shutil.copytree(flowers, tmp_path / "splits" / "test")
    with pytest.raises(DatasetRejected, match="no train/"):
        loaded(tmp_path / "splits")


def test_a_link_out_of_the_folders_that_may_be_read_is_rejected(flowers, tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "secret.png")
    (flowers / "rose" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DatasetRejected, match=r"rose/link\.png is a symbolic link that leads out"):
        loaded(flowers, roots=[flowers])


def test_links_to_folders_and_files_that_may_be_read_are_followed(flowers, tmp_path):
    subset = tmp_path / "subset"
    (subset / "tulip").mkdir(parents=True)
    (subset / "rose").symlink_to(flowers / "rose")
    (subset / "tulip" / "0.png").symlink_to(flowers / "tulip" / "0.png")
    dataset = loaded(subset, holdout_fraction=0.125)
    assert (dataset.classes, np.bincount(dataset.train.labels).tolist()) == (("rose", "tulip"), [7, 1])


def test_a_file_that_became_a_link_out_after_it_was_listed_is_not_read(flowers, tmp_path):
    files = FolderFiles(flowers, [flowers])
    Image.new("L", (8, 8)).save(tmp_path / "secret.png")
    (flowers / "rose" / "0.png").unlink()
    (flowers / "rose" / "0.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DatasetRejected, match="leads out"):
        files.read("rose/0.png")


@pytest.mark.timeout(10)
def test_a_file_that_became_a_pipe_after_it_was_listed_is_damaged_and_not_waited_for(flowers):
    files = FolderFiles(flowers, [flowers])
    (flowers / "rose" / "0.png").unlink()
    os.mkfifo(flowers / "rose" / "0.png")
    with pytest.raises(BadImage, match=r"rose/0\.png: not a regular file"):
        files.read("rose/0.png")


def test_a_link_inside_the_folder_is_followed(flowers):
    (flowers / "rose" / "link.png").symlink_to(flowers / "rose" / "0.png")
    assert len(loaded(flowers).train) + len(loaded(flowers).test) == 25


def test_a_link_to_a_parent_folder_adds_nothing_and_is_named(flowers):
    honest = loaded(flowers)
    (flowers / "rose" / "loop").symlink_to(flowers)
    dataset = loaded(flowers)
    assert list(dataset.train.names) == list(honest.train.names)
    assert dataset.left_out == ("links to folders that are read under another name, or that hold the dataset: 1 (rose/loop)",)


def test_the_digest_changes_with_one_byte_or_the_split_and_not_with_the_size(flowers):
    before = loaded(flowers).digest
    assert loaded(flowers, image_size=4).digest == before
    assert loaded(flowers, holdout_fraction=0.1).digest != before
    Image.new("L", (8, 8)).save(flowers / "rose" / "0.png")
    assert loaded(flowers).digest != before


def test_progress_reaches_the_number_of_files(flowers):
    seen = []
    loaded(flowers, report=lambda done, total: seen.append((done, total)))
    assert [pair for pair in seen if pair[1] == 24 and pair[0]][-1] == (24, 24)
    assert [done for done, total in seen if total == 24] == sorted(done for done, total in seen if total == 24)


def test_selected_classes_are_relabelled_in_the_order_given(flowers):
    dataset = loaded(flowers)
    chosen = select(dataset, ["tulip", "daisy"])
    assert chosen.classes == ("tulip", "daisy")
    names = files_of(chosen.train, flowers)
    assert [chosen.classes[label] for label in chosen.train.labels] == [name.split("/")[0] for name in names]
    assert set(chosen.train.labels) == set(chosen.test.labels) == {0, 1}


def test_no_selection_keeps_every_class(flowers):
    dataset = loaded(flowers)
    assert select(dataset, None) is dataset


def test_only_the_chosen_classes_are_read_and_judged(flowers):
    shutil.copytree(flowers / "rose", flowers / "junk")
    for image in (flowers / "junk").iterdir():
        image.write_bytes(b"no image")
    seen = []
    dataset = loaded(flowers, classes=("tulip", "rose"), report=lambda done, total: seen.append((done, total)))
    assert (dataset.classes, dataset.unread, max(seen)) == (("rose", "tulip"), ("daisy", "junk"), (16, 16))
    with pytest.raises(DatasetRejected, match="files that cannot be used: 1 of the first 9 "):
        loaded(flowers)


def test_a_class_that_the_dataset_lacks_is_refused_with_the_nearest(flowers):
    with pytest.raises(InvalidSpec, match="no class 'tulips'; nearest: tulip") as refused:
        loaded(flowers, classes=("rose", "tulips"))
    assert refused.value.problems[0].field == "classes"


def test_a_class_has_one_digest_whatever_is_read_beside_it(flowers):
    whole, part = loaded(flowers), loaded(flowers, classes=("rose",))
    assert whole.digest_of("rose") == part.digest_of("rose") != whole.digest_of("tulip")
    assert whole.digest != part.digest


def test_a_class_of_the_test_split_alone_matters_only_if_it_is_chosen(flowers, tmp_path):
    shutil.copytree(flowers, tmp_path / "splits" / "train")
    shutil.copytree(flowers, tmp_path / "splits" / "val")
    shutil.rmtree(tmp_path / "splits" / "train" / "rose")
    assert len(loaded(tmp_path / "splits", classes=("tulip", "daisy")).train) == 16
    with pytest.raises(DatasetRejected, match="class 'rose' has 0 training images"):
        loaded(tmp_path / "splits")


def test_nothing_is_held_out_where_there_is_a_test_split_though_it_lacks_the_class(flowers, tmp_path):
    shutil.copytree(flowers, tmp_path / "splits" / "train")
    shutil.copytree(flowers / "tulip", tmp_path / "splits" / "test" / "tulip")
    dataset = loaded(tmp_path / "splits", classes=("rose",))
    assert (len(dataset.train), len(dataset.test)) == (8, 0)


def test_the_list_of_labels_of_a_test_split_gives_its_classes(flowers, tmp_path):
    tiny = tmp_path / "tiny"
    for name in ("rose", "tulip"):
        shutil.copytree(flowers / name, tiny / "train" / name / "images")
        (tiny / "train" / name / f"{name}_boxes.txt").write_text("0.png 0 0 7 7")
    shutil.copytree(flowers / "daisy", tiny / "val" / "images")
    shutil.copytree(flowers / "daisy", tiny / "test" / "images")
    labels = ["0.png\ttulip\t0\t0\t7\t7", "1.png\trose\t0\t0\t7\t7", "2.png\telephant\t0\t0\t7\t7"]
    (tiny / "val" / "val_annotations.txt").write_text("\n".join(labels))
    dataset = loaded(tiny)
    assert (dataset.classes, len(dataset.train)) == (("rose", "tulip"), 16)
    classes = [dataset.classes[label] for label in dataset.test.labels]
    (tiny / "test" / "images").rename(tmp_path / "unlabelled")  # the same images
    found = dict(zip(files_of(dataset.test, tiny), classes, strict=True))
    assert found == {"val/images/0.png": "tulip", "val/images/1.png": "rose"}
    assert dataset.left_out[0].startswith("images without a class of the training split in val/val_annotations.txt: 6 (")
    assert "images without labels: 8 (test/)" in dataset.left_out


def test_a_name_in_another_code_page_is_readable_text(flowers):
    (flowers / "rose" / os.fsdecode(b"caf\xe9.png")).write_bytes((flowers / "rose" / "0.png").read_bytes())
    (flowers / "rose" / os.fsdecode(b"caf\xe8.png")).write_bytes(b"no image")
    dataset = loaded(flowers, max_bad_fraction=0.1)
    assert dataset.bad_files[0].startswith(r"rose/caf\xe8.png: ")
