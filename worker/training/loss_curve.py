"""The loss over the steps, as a table and as a picture."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from worker.training.durable import write_image, write_text

MOST_ROWS = 500
WIDTH, HEIGHT, MARGIN = 720, 400, 56
GRID_LINES = 5

Row = tuple[int, float]


class LossCurve:
    """Mean losses of equal parts of a run of `steps`, at most about MOST_ROWS parts.

    Each row holds the last step of a part and its mean loss.
    """

    def __init__(self, steps: int) -> None:
        self.rows: list[Row] = []
        self._every = max(1, steps // MOST_ROWS)
        self._steps = steps
        self._sum = 0.0
        self._count = 0

    def add(self, step: int, loss: float) -> None:
        """Add the loss of `step`; the steps are 1, 2, ..."""
        self._sum += loss
        self._count += 1
        if step % self._every == 0 or step == self._steps:
            self.rows.append((step, self._sum / self._count))
            self._sum, self._count = 0.0, 0

    def last_tenth(self) -> float:
        """The mean loss over the last tenth of the steps; NaN if there is none yet."""
        tail = [loss for step, loss in self.rows if step > 0.9 * self._steps]
        return sum(tail) / len(tail) if tail else math.nan

    def state(self) -> dict[str, Any]:
        """The state that `restore` takes, as plain numbers."""
        return {"rows": list(self.rows), "sum": self._sum, "count": self._count}

    def restore(self, state: dict[str, Any]) -> None:
        self.rows = [(step, loss) for step, loss in state["rows"]]
        self._sum, self._count = state["sum"], state["count"]

    def write(self, folder: Path) -> None:
        """Write `folder`/loss.csv and, from two rows on, `folder`/loss.png."""
        write_text(folder / "loss.csv", "step,loss\n" + "".join(f"{step},{loss:.6g}\n" for step, loss in self.rows))
        if len(self.rows) > 1:
            write_image(folder / "loss.png", plot(self.rows))


def plot(rows: Sequence[Row]) -> Image.Image:
    """A picture of the loss, on a logarithmic axis, over the steps."""
    heights = [math.log10(max(loss, 1e-12)) for _, loss in rows]
    low, high = min(heights), max(max(heights), min(heights) + 0.1)
    last = rows[-1][0]
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(picture)

    def at(step: float, height: float) -> tuple[float, float]:
        x = MARGIN + (WIDTH - 2 * MARGIN) * step / last
        return x, HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (height - low) / (high - low)

    font = ImageFont.load_default(14)
    for i in range(GRID_LINES):
        share = i / (GRID_LINES - 1)
        height = low + (high - low) * share
        draw.line([at(0, height), at(last, height)], fill="lightgrey")
        draw.text((MARGIN - 6, at(0, height)[1]), f"{10**height:.3g}", fill="black", font=font, anchor="rm")
        draw.text(
            (at(last * share, low)[0], HEIGHT - MARGIN + 8), f"{round(last * share):,}", fill="black", font=font, anchor="ma"
        )
    draw.line([at(step, height) for (step, _), height in zip(rows, heights, strict=True)], fill="navy", width=2)
    draw.text((WIDTH / 2, MARGIN / 2), "training loss by step", fill="black", font=font, anchor="mm")
    return picture
