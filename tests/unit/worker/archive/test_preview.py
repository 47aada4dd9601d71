import numpy as np

from worker.archive.preview import MAX_COLUMNS, MAX_ROWS, grid


class Counted:
    """Black images that count how often one was read."""

    def __init__(self, count: int, side: int) -> None:
        self.shape = (count, side, side, 3)
        self.read: list[int] = []

    def __getitem__(self, row: int, /) -> np.ndarray:
        self.read.append(row)
        return np.zeros(self.shape[1:], dtype=np.uint8)


def shown(images, labels, classes, ranks=None):
    labels = np.array(labels)
    return grid(images, labels, np.arange(len(labels)) if ranks is None else np.array(ranks), classes)


def test_small_images_are_enlarged_without_smoothing():
    images = np.zeros((1, 8, 8, 1), dtype=np.uint8)
    images[0, 0, 0] = 255
    pixels = np.asarray(shown(images, [0], ["0"]).convert("L"))
    cell = pixels[4:52, -52:-4]
    assert set(np.unique(cell)) == {0, 255}
    assert (cell == 255).sum() == 36


def test_there_is_a_row_per_class_and_a_column_per_image():
    images = np.zeros((5, 8, 8, 1), dtype=np.uint8)
    one = shown(images[:1], [0], ["a"])
    many = shown(images, [0, 0, 0, 1, 1], ["a", "a"])
    assert (many.width - one.width, many.height - one.height) == (2 * 52, 52)


def test_the_images_of_a_row_stand_by_rank():
    images = np.repeat(np.array([10, 200], dtype=np.uint8), 64).reshape(2, 8, 8, 1)
    pixels = np.asarray(shown(images, [0, 0], ["a"], ranks=[1, 0]).convert("L"))
    assert (pixels[8, -100], pixels[8, -20]) == (200, 10)


def test_large_images_are_shrunk():
    assert shown(Counted(1, 256), [0], ["a"]).height == 4 + 96 + 4


def test_a_class_without_images_has_an_empty_row():
    sheet = shown(np.zeros((1, 8, 8, 1), dtype=np.uint8), [0], ["a", "a very long name of a class, too long"])
    assert sheet.height == 4 + 2 * 52


def test_of_many_classes_some_at_even_distances_are_shown_and_no_other_image_is_read():
    classes, ipc = 1000, 50
    images = Counted(classes * ipc, 256)
    sheet = shown(images, np.repeat(np.arange(classes), ipc), [f"class {number}" for number in range(classes)])
    assert len(images.read) == MAX_ROWS * MAX_COLUMNS
    assert {row // ipc for row in images.read} >= {0, classes - 1}
    assert sheet.width <= 2000
    assert sheet.height <= 4200


def test_a_picture_that_leaves_something_out_says_so_below():
    images = Counted(MAX_COLUMNS + 1, 8)
    whole = shown(images, [0] * MAX_COLUMNS, ["a"])
    cut = shown(images, [0] * (MAX_COLUMNS + 1), ["a"])
    assert cut.height > whole.height
    assert np.asarray(cut.convert("L"))[whole.height :].min() < 128
