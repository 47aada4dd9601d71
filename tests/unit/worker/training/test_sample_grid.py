import numpy as np
import pytest
import torch

from worker.training.loss_curve import LossCurve
from worker.training.model import Architecture, build
from worker.training.record import Record
from worker.training.sample_grid import COLUMNS, GAP, MOST_CLASSES, drawn, grid, real

SMALL = Architecture(image_size=4, channels=3, classes=12, heads=1, blocks=1)
LABELS = torch.arange(24) % 12
IMAGES = (LABELS / 127.5 - 1)[:, None, None, None].expand(24, 3, 4, 4)


def ignore(_done: int, _steps: int) -> None:
    pass


def test_the_same_noise_is_drawn_each_time_and_another_for_each_image():
    first, again = (drawn(build(SMALL, 0), 2, 0, ignore) for _ in range(2))
    assert first.shape == (2, COLUMNS, 4, 4, 3)
    assert np.array_equal(first, again)
    assert len({image.tobytes() for row in first for image in row}) == 2 * COLUMNS


def test_drawing_changes_neither_the_weights_nor_the_global_generator():
    model, state = build(SMALL, 0), torch.random.get_rng_state()
    drawn(model, 1, 0, ignore)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), build(SMALL, 0).parameters(), strict=True))


def test_the_real_images_are_of_the_class_of_their_row():
    rows = real(IMAGES, LABELS, 3)
    assert rows.shape == (3, COLUMNS, 4, 4, 3)  # each class has two images, so they occur twice
    assert [set(row.flatten().tolist()) for row in rows] == [{0}, {1}, {2}]


def test_the_grid_has_drawn_images_left_and_real_ones_right():
    left, right = np.zeros((2, COLUMNS, 4, 4, 3), np.uint8), np.full((2, COLUMNS, 4, 4, 3), 255, np.uint8)
    right[..., 0] = 0
    sheet = np.asarray(grid(left, right, ["tench", "a name that is too long for a grid \udce9"]))
    assert tuple(sheet[-GAP - 2, -GAP - 2]) == (0, 255, 255)
    assert tuple(sheet[-GAP - 2, sheet.shape[1] // 2 - 64]) == (0, 0, 0)


@pytest.mark.parametrize(("classes", "rows"), [(2, 2), (12, MOST_CLASSES)])
def test_a_record_has_a_row_for_each_of_the_first_classes(tmp_path, classes, rows):
    record = Record(tmp_path, IMAGES, LABELS, [str(i) for i in range(classes)], seed=0, stop_requested=lambda: False)
    assert len(record._real) == rows


def test_a_request_to_stop_ends_the_drawing(tmp_path):
    record = Record(tmp_path, IMAGES, LABELS, ["a", "b"], seed=0, stop_requested=lambda: True)
    record.write(build(SMALL, 0), LossCurve(2))
    assert [path.name for path in tmp_path.iterdir()] == ["loss.csv"]
