import numpy as np

from worker.archive.preview import grid


def test_small_images_are_enlarged_without_smoothing():
    images = np.zeros((1, 8, 8, 1), dtype=np.uint8)
    images[0, 0, 0] = 255
    pixels = np.asarray(grid(images, np.array([0]), ["0"]).convert("L"))
    cell = pixels[4:52, -52:-4]
    assert set(np.unique(cell)) == {0, 255}
    assert (cell == 255).sum() == 36


def test_there_is_a_row_per_class_and_a_column_per_image():
    images = np.zeros((5, 8, 8, 1), dtype=np.uint8)
    one = grid(images[:1], np.array([0]), ["a"])
    many = grid(images, np.array([0, 0, 0, 1, 1]), ["a", "a"])
    assert (many.width - one.width, many.height - one.height) == (2 * 52, 52)


def test_large_images_are_shrunk():
    images = np.zeros((1, 256, 256, 3), dtype=np.uint8)
    assert grid(images, np.array([0]), ["a"]).height == 4 + 96 + 4


def test_a_class_without_images_has_an_empty_row():
    sheet = grid(np.zeros((1, 8, 8, 1), dtype=np.uint8), np.array([0]), ["a", "a very long name of a class, too long"])
    assert sheet.height == 4 + 2 * 52
