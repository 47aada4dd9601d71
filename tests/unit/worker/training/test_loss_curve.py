import math

import pytest
from PIL import Image

from worker.training.loss_curve import HEIGHT, MOST_ROWS, WIDTH, LossCurve, plot


def filled(steps: int, losses) -> LossCurve:
    curve = LossCurve(steps)
    for step, loss in enumerate(losses, start=1):
        curve.add(step, loss)
    return curve


def test_a_long_run_has_means_of_equal_parts():
    curve = filled(10 * MOST_ROWS, [float(i) for i in range(10 * MOST_ROWS)])
    assert len(curve.rows) == MOST_ROWS
    assert curve.rows[:2] == [(10, 4.5), (20, 14.5)]


def test_the_last_row_is_the_last_step():
    assert filled(1003, [1.0] * 1003).rows[-1] == (1003, 1.0)


def test_the_last_tenth_is_its_mean():
    assert filled(20, [float(i) for i in range(20)]).last_tenth() == pytest.approx(18.5)
    assert math.isnan(filled(20, [1.0] * 5).last_tenth())


def test_a_restored_curve_goes_on_as_if_nothing_had_happened():
    losses = [1 / (i + 1) for i in range(2000)]
    restored = LossCurve(2000)
    restored.restore(filled(2000, losses[:1501]).state())
    for step, loss in enumerate(losses[1501:], start=1502):
        restored.add(step, loss)
    assert restored.rows == filled(2000, losses).rows


def test_the_files_are_a_table_and_a_picture(tmp_path):
    filled(3, [1.0, 0.5]).write(tmp_path)
    assert (tmp_path / "loss.csv").read_text() == "step,loss\n1,1\n2,0.5\n"
    with Image.open(tmp_path / "loss.png") as image:
        assert image.size == (WIDTH, HEIGHT)


def test_the_picture_falls_from_left_to_right_with_the_loss():
    picture = plot([(1, 1.0), (100, 0.01)])
    blue = [(x, y) for x in range(WIDTH) for y in range(HEIGHT) if picture.getpixel((x, y)) == (0, 0, 128)]
    assert min(blue)[1] < HEIGHT / 3
    assert max(blue)[1] > 2 * HEIGHT / 3


def test_a_constant_loss_can_be_drawn():
    plot([(1, 0.5), (2, 0.5)])
