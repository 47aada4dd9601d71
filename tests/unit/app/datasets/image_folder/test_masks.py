import pytest

from app.datasets.image_folder.masks import masks_beside


@pytest.mark.parametrize(
    ("mask", "image"),
    [
        ("benign/benign (1)_mask.png", "benign/benign (1).png"),
        ("benign/benign (1)_mask_1.png", "benign/benign (1).png"),
        ("cat/1.mask.png", "cat/1.jpg"),
        ("cat/1-seg.png", "cat/1.jpg"),
        ("cat/1_GT.bmp", "cat/1.jpg"),
        ("cat/1_groundTruth.png", "cat/1.jpg"),
    ],
)
def test_a_mask_beside_its_image_is_told(mask, image):
    told = masks_beside([mask, image, "dog/2.png"])
    assert told == (
        f"files named as masks of others: 1 ({mask} beside {image}); they are read as images of their class: "
        "move them elsewhere if they are masks"
    )


@pytest.mark.parametrize(
    "names",
    [
        ["cat/1.png", "cat/2.png"],
        ["cat/1_mask.png", "cat/2_mask.png"],  # pictures of masks
        ["mask/1.png", "mask/2.png"],
        ["cat/1_mask.png", "dog/1.png"],
        ["label", "x_label"],
    ],
)
def test_a_name_alone_makes_no_mask(names):
    assert masks_beside(names) is None


def test_all_masks_of_an_image_are_counted():
    told = masks_beside(["a/1.png", "a/1_mask.png", "a/1_mask_1.png", "a/2.png", "a/2_mask.png"])
    assert told is not None
    assert told.startswith("files named as masks of others: 3 (a/1_mask.png beside a/1.png)")
