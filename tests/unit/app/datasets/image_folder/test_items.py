import pytest

from app.datasets.image_folder import arrange, items_of, listing_of
from app.datasets.image_folder.items import Item, labels_in
from app.domain.errors import DatasetRejected


def no_file(path: str) -> bytes:
    raise AssertionError(f"{path} was read")


def test_items_are_sorted_by_name_without_the_wrapping_folders() -> None:
    layout = arrange(listing_of(["set/dog/1.jpg", "set/cat/2.jpg", "set/cat/1.jpg"]))
    assert items_of(layout, ("cat", "dog"), no_file).items == [
        Item("set/cat/1.jpg", "cat/1.jpg", "cat", None),
        Item("set/cat/2.jpg", "cat/2.jpg", "cat", None),
        Item("set/dog/1.jpg", "dog/1.jpg", "dog", None),
    ]


def test_only_files_of_the_chosen_classes_are_items() -> None:
    layout = arrange(listing_of(["train/cat/1.jpg", "train/dog/1.jpg", "test/dog/2.jpg"]))
    assert [item.path for item in items_of(layout, ("dog",), no_file).items] == ["test/dog/2.jpg", "train/dog/1.jpg"]


def test_two_files_that_would_have_one_name_are_refused() -> None:
    layout = arrange(listing_of(["cat/a/1.jpg", "cat/a\\1.jpg", "dog/1.jpg"]))
    with pytest.raises(DatasetRejected, match=r"two files have the name 'cat/a/1\.jpg'"):
        items_of(layout, layout.classes, no_file)


def test_a_list_of_labels_has_a_file_and_its_class_on_each_line() -> None:
    text = "val_0.JPEG\tn01\t0\t32\t44\t62\nval_1.JPEG n02\n\nbroken\n"
    assert labels_in(text) == {"val_0.JPEG": "n01", "val_1.JPEG": "n02"}


def test_images_that_the_list_does_not_name_or_of_unknown_classes_are_left_out_and_named() -> None:
    paths = ["train/n01/1.jpg", "train/n02/1.jpg", *(f"val/images/{i}.jpg" for i in range(4)), "val/val_annotations.txt"]
    layout = arrange(listing_of(paths))
    found = items_of(layout, ("n01",), {"val/val_annotations.txt": b"0.jpg n01\n1.jpg n02\n2.jpg n03\n"}.__getitem__)
    assert [(item.name, item.split) for item in found.items] == [("train/n01/1.jpg", "train"), ("val/images/0.jpg", "test")]
    assert found.left_out == (
        "images without a class of the training split in val/val_annotations.txt: 2 (val/images/2.jpg, val/images/3.jpg)",
    )
