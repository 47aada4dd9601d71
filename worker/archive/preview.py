"""A labelled grid of the images."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image, ImageDraw, ImageFont

from worker.archive.spool import to_pil
from worker.progress import Heartbeat, no_heartbeat

MIN_CELL = 48
MAX_CELL = 96
MAX_ROWS = 40  # with MAX_COLUMNS and MAX_CELL: at most about 2,200 x 4,000 pixels
MAX_COLUMNS = 16
GAP = 4
FONT_SIZE = 16
MAX_LABEL = 40


class Images(Protocol):
    """Images of one size, read one at a time: an array, or files on disk."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number, height, width, channels."""
        ...

    def __getitem__(self, row: int, /) -> UInt8[np.ndarray, "height width channels"]: ...


def grid(
    images: Images,
    labels: Integer[np.ndarray, " n"],
    ranks: Integer[np.ndarray, " n"],
    classes: Sequence[str],
    heartbeat: Heartbeat = no_heartbeat,
) -> Image.Image:
    """One row per class, its images from left to right by rank.

    Shows at most MAX_ROWS classes, evenly spaced, and the first MAX_COLUMNS images of each; a line
    below says what is left out. Enlarges small images by a whole number without smoothing, and
    shrinks large ones. Reads only the shown images, and calls `heartbeat` after each.
    """
    shown = np.unique(np.linspace(0, len(classes) - 1, min(len(classes), MAX_ROWS)).round().astype(int)).tolist()
    rows = [_by_rank(labels, ranks, label)[:MAX_COLUMNS] for label in shown]
    names = [_shortened(str(classes[label])) for label in shown]
    most = int(np.bincount(labels).max(initial=0))
    left_out = _left_out(len(shown), len(classes), min(most, MAX_COLUMNS), most)
    font = ImageFont.load_default(FONT_SIZE)
    margin = 3 * GAP + round(max(font.getlength(name) for name in names))
    cell = _cell(images.shape[1])
    step = cell + GAP
    below = FONT_SIZE + 2 * GAP if left_out else 0
    width = max(margin + step * max(len(row) for row in rows), 2 * GAP + round(font.getlength(left_out)))
    sheet = Image.new("RGB", (width, GAP + step * len(rows) + below), "white")
    draw = ImageDraw.Draw(sheet)
    for y, (name, row) in enumerate(zip(names, rows, strict=True)):
        top = GAP + y * step
        draw.text((GAP, top + cell // 2), name, fill="black", font=font, anchor="lm")
        for x, index in enumerate(row):
            sheet.paste(_thumbnail(images[index], cell), (margin + x * step, top))
            heartbeat()
    draw.text((GAP, sheet.height - GAP), left_out, fill="black", font=font, anchor="ls")
    return sheet


def _by_rank(labels: np.ndarray, ranks: np.ndarray, label: int) -> list[int]:
    rows = np.flatnonzero(labels == label)
    return rows[np.argsort(ranks[rows], kind="stable")].tolist()


def _shortened(name: str) -> str:
    return name if len(name) <= MAX_LABEL else name[: MAX_LABEL - 1] + "…"


def _left_out(rows: int, classes: int, columns: int, images: int) -> str:
    """A phrase about the images that the grid leaves out; empty if it shows all."""
    if rows == classes and columns == images:
        return ""
    return f"{rows:,} of {classes:,} classes, {columns} of {images:,} images of a class"


def _cell(size: int) -> int:
    return min(MAX_CELL, size * max(1, -(-MIN_CELL // size)))


def _thumbnail(pixels: np.ndarray, cell: int) -> Image.Image:
    method = Image.Resampling.NEAREST if cell >= len(pixels) else Image.Resampling.BOX
    return to_pil(pixels).resize((cell, cell), method).convert("RGB")
