"""Layouts of strangers' data sets: understood as they were meant, or refused with both readings."""

import pytest

from app.datasets.image_folder import Layout, arrange, listing_of
from app.domain.errors import DatasetRejected

IMAGES = ("1.jpg", "2.jpg")


def folders(*names: str) -> list[str]:
    """Two images in each folder."""
    return [f"{name}/{image}" for name in names for image in IMAGES]


def splits(*names: str) -> list[str]:
    """The classes apple and pear in each folder."""
    return folders(*(f"{name}/{fruit}" for name in names for fruit in ("apple", "pear")))


def layout_of(*paths: str) -> Layout:
    return arrange(listing_of(paths))


def counts(layout: Layout) -> dict[tuple[str, str | None], int]:
    return {(one.class_name, one.split): one.folder.total for one in layout.class_folders}


BOTH = {(fruit, split): 2 for fruit in ("apple", "pear") for split in ("train", "test")}
TRAIN_ALONE = {("apple", "train"): 2, ("pear", "train"): 2}
NO_SPLITS: dict[tuple[str, str | None], int] = {("apple", None): 2, ("pear", None): 2}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("train", "val"),
        ("train", "dev"),
        ("train", "holdout"),
        ("train", "hold-out"),
        ("Training", "Testing"),
        ("Train", "Test"),
        ("TRAIN", "VALID"),
        ("training", "validation"),
        ("training_set", "test_set"),
        ("trainset", "testset"),
        ("train_images", "val_images"),
        ("TrainImages", "TestImages"),
        ("images-train", "images-eval"),
        ("train2017", "val2017"),
        ("train_32x32", "val_32x32"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train/images", "test/images"),
        ("flowers_train", "flowers_test"),
        ("ILSVRC2012_img_train", "ILSVRC2012_img_val"),
        ("archive/flowers/Train", "archive/flowers/Test"),
    ],
)
def test_splits_of_any_usual_spelling_are_splits(train: str, test: str) -> None:
    assert counts(layout_of(*splits(train, test))) == BOTH


@pytest.mark.parametrize(
    "beside",
    [
        "README.md",
        "flowers/LICENSE",
        "flowers/labels.csv",
        "a.pdf",
        ".DS_Store",
        "__MACOSX/flowers/apple/._1.jpg",
        "notes/a.txt",
    ],
)
@pytest.mark.parametrize("wrapper", ["flowers", "archive/flowers"])
def test_what_lies_beside_a_wrapping_folder_makes_it_no_class(wrapper: str, beside: str) -> None:
    layout = layout_of(*splits(wrapper), beside)
    assert counts(layout) == NO_SPLITS
    assert layout.wrappers == len(wrapper.split("/"))
    assert layout.left_out


def test_an_image_beside_a_wrapping_folder_is_left_out_by_name() -> None:
    layout = layout_of(*splits("flowers"), "preview.png")
    assert (counts(layout), layout.left_out) == (NO_SPLITS, ("images outside class folders: 1 (preview.png)",))


def test_splits_in_every_class_are_splits() -> None:
    paths = folders(*(f"{fruit}/{split}" for fruit in ("apple", "pear") for split in ("train", "test", "val")))
    layout = layout_of(*paths)
    assert counts(layout) == BOTH
    assert layout.left_out == ("another split than test: 4 (apple/val/, pear/val/)",)


def test_what_systems_put_between_images_is_left_out() -> None:
    litter = ["Thumbs.db", "apple/desktop.ini", "apple/._1.jpg", "$RECYCLE.BIN/x/1.jpg", "@eaDir/1.jpg/SYNOPHOTO.jpg"]
    litter += ["System Volume Information/a.jpg", "pear/.ipynb_checkpoints/1.jpg", "lost+found/1.jpg", "pear/.thumbnails/1.jpg"]
    layout = layout_of(*folders("apple", "pear"), *litter)
    assert counts(layout) == NO_SPLITS
    assert layout.left_out[0].startswith("hidden or system files and folders: 9 (")


@pytest.mark.parametrize(
    "name",
    [
        "1.xml",
        "1.jpg.json",
        "metadata.jsonl",
        "list.TXT",
        "a.csv",
        "a.mat",
        "a.npy",
        "a.pdf",
        "a.yaml",
        "README",
        "LICENSE",
        "a.mov",
    ],
)
def test_what_can_be_no_image_by_its_name_is_left_out(name: str) -> None:
    layout = layout_of(*folders("apple", "pear"), f"apple/{name}", f"annotations/{name}")
    assert counts(layout) == NO_SPLITS
    assert f"files that are no images by their name: 2 (annotations/{name}, apple/{name})" in layout.left_out
    assert "folders without images: 1 (annotations/)" in layout.left_out


@pytest.mark.parametrize("name", ["3.jpeg", "3.JPG", "3.tiff", "3.heic", "3", "3.2", "scan.0001", "a.b.png"])
def test_what_may_be_an_image_is_read(name: str) -> None:
    assert counts(layout_of(*folders("apple", "pear"), f"apple/{name}"))["apple", None] == 3


def test_a_test_split_is_preferred_and_validation_images_are_left_out() -> None:
    layout = layout_of(*splits("train", "val", "test"))
    assert counts(layout) == BOTH
    assert all("val" not in path for one in layout.class_folders for path in one.folder.images)
    assert layout.left_out == ("another split than test/, which is the test split: 4 (val/)",)


@pytest.mark.parametrize("test", ["test", "test/test", "test/images", "seg_pred/seg_pred", "unlabeled"])
def test_a_split_without_labels_leaves_the_test_to_another(test: str) -> None:
    layout = layout_of(*splits("train", "val"), *folders(test))
    assert counts(layout) == BOTH
    assert layout.left_out == (f"images without labels: 2 ({test.split('/')[0]}/)",)


def test_where_the_only_test_split_has_no_labels_training_images_stand_in_for_it() -> None:
    layout = layout_of(*splits("train"), *folders("test"))
    assert (counts(layout), layout.tested) == (TRAIN_ALONE, False)
    assert layout.doubts == ("test/ has no labels: a part of the training images is held out in its place",)


def test_tiny_imagenet_is_read_as_it_is_downloaded() -> None:
    paths = folders("tiny/train/n01/images", "tiny/train/n02/images", "tiny/val/images", "tiny/test/images")
    lists = ["tiny/train/n01/n01_boxes.txt", "tiny/val/val_annotations.txt", "tiny/wnids.txt"]
    layout = layout_of(*paths, *lists)
    assert counts(layout) == {("n01", "train"): 2, ("n02", "train"): 2}
    assert layout.annotated is not None
    assert (layout.annotated.annotations, layout.annotated.folder.total) == ("tiny/val/val_annotations.txt", 2)
    assert "images without labels: 2 (test/)" in layout.left_out


@pytest.mark.parametrize(
    ("paths", "both"),
    [
        (folders("Training", "Testing"), r"Testing/, Training/ look like splits, but Training/ .* without class folders"),
        (folders("train/images", "test/images"), "train/ holds images without class folders"),
        (splits("Train", "train"), "Train/, train/ are both a train split"),
        (splits("Train", "training", "test"), "Train/, training/ are both"),
        (splits("train", "extra"), "train/ stands beside extra/, which is no split"),
        (splits("test"), "there is test/ but no train/"),
        (splits("train") + folders("test/x", "test/y"), "test/ has the classes x/, y/, and train/ has apple, pear"),
        (splits("flowers") + folders("samples"), "flowers/ holds the folders apple/, pear/ and stands beside samples/"),
        (splits("part1", "part2"), r"part1/, part2/ hold the same folders \(apple/, pear/\)"),
        (folders("cat", "dog", "test"), "test/ beside cat/, dog/ may be a class, or a split"),
        (folders("cat/train", "cat/test", "dog"), "cat/ holds splits .* and dog/ does not"),
        (folders("cat/train", "cat/Train", "dog/train"), "cat/ holds one split twice"),
        (folders("cat_train", "cat_test", "dog_train"), "are cat_train/ and cat_test/ two classes, or splits of one"),
        (folders("images", "masks"), "images/, masks/ by name hold images, but of which class"),
        (folders("Cat", "cat"), "are 'Cat' and 'cat' one class or two"),
        (folders("train/Cat", "train/dog", "test/cat", "test/dog"), "are 'Cat' and 'cat' one class or two"),
        (["1.jpg", "2.jpg"], "no class folders"),
        (["cat/1.xml"], "no class folders"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_with_both(paths: list[str], both: str) -> None:
    with pytest.raises(DatasetRejected, match=both):
        layout_of(*paths)


@pytest.mark.parametrize(
    ("paths", "classes", "doubt"),
    [
        (folders("bus", "train", "car"), ("bus", "car", "train"), "train/ is read as a class, as it stands beside bus/, car/"),
        (folders("invalid", "valid"), ("invalid", "valid"), "valid/ is read as a class"),
        (folders("pets/cat", "pets/dog", "cars/bus", "cars/van"), ("cars", "pets"), "each outer folder is read as one class"),
        (["cat\\1.jpg", "dog\\2.jpg"], ("cat", "dog"), "backslashes"),
    ],
)
def test_a_reading_that_was_chosen_is_named(paths: list[str], classes: tuple[str, ...], doubt: str) -> None:
    layout = layout_of(*paths)
    assert layout.classes == classes
    assert len(layout.doubts) == 1
    assert doubt in layout.doubts[0]


@pytest.mark.parametrize(
    "paths", [folders("a/x", "b"), folders("a/images", "b/images"), folders("A", "a"), folders("bullet_train")]
)
def test_plain_class_folders_are_classes_without_a_doubt(paths: list[str]) -> None:
    layout = layout_of(*paths)
    assert set(layout.classes) == {path.split("/")[0] for path in paths}
    assert not layout.doubts


def test_a_class_of_the_test_split_alone_is_named_as_untrained() -> None:
    assert layout_of(*splits("train"), *folders("test/apple", "test/bird")).untrained == ("bird",)


def test_a_name_in_another_code_page_is_readable_text() -> None:
    assert layout_of("caf\udce9/1.jpg", "the\u0301/1.jpg").classes == ("caf\\xe9", "th\u00e9")


def test_folders_of_a_zip_made_on_windows_are_no_files() -> None:
    layout = layout_of("set\\", "set\\apple\\", *(path.replace("/", "\\") for path in folders("set/apple", "set/pear")))
    assert (counts(layout), layout.left_out) == (NO_SPLITS, ())


def test_a_path_with_too_many_folders_is_refused() -> None:
    with pytest.raises(DatasetRejected, match="nested more than 16 deep"):
        layout_of("a/" * 30_000 + "1.jpg")
