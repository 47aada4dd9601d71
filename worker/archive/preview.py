"""A labelled grid of the images, for people."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image, ImageDraw, ImageFont

MIN_CELL = 48
MAX_CELL = 96
MAX_ROWS = 100
MAX_COLUMNS = 20
GAP = 4
FONT_SIZE = 16
MAX_LABEL = 24


def grid(
    images: UInt8[np.ndarray, "n height width channels"], labels: Integer[np.ndarray, " n"], classes: Sequence[str]
) -> Image.Image:
    """One row per class, its images from left to right in the order given; the first MAX_ROWS classes, MAX_COLUMNS images.

    Small images are enlarged by a whole number without smoothing, large ones shrunk.
    """
    rows = [np.flatnonzero(labels == label)[:MAX_COLUMNS] for label in range(min(len(classes), MAX_ROWS))]
    names = [name if len(name) <= MAX_LABEL else name[: MAX_LABEL - 1] + "…" for name in classes[: len(rows)]]
    font = ImageFont.load_default(FONT_SIZE)
    margin = 3 * GAP + round(max(font.getlength(name) for name in names))
    cell = _cell(images.shape[1])
    step = cell + GAP
    width = margin + step * max(len(row) for row in rows)
    sheet = Image.new("RGB", (width, GAP + step * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    for y, (name, row) in enumerate(zip(names, rows, strict=True)):
        top = GAP + y * step
        draw.text((GAP, top + cell // 2), name, fill="black", font=font, anchor="lm")
        for x, index in enumerate(row):
            sheet.paste(_thumbnail(images[index], cell), (margin + x * step, top))
    return sheet


def to_pil(pixels: UInt8[np.ndarray, "height width channels"]) -> Image.Image:
    """A grey or RGB image of 1 or 3 channels."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[-1] == 1 else pixels)


def _cell(size: int) -> int:
    return min(MAX_CELL, size * max(1, -(-MIN_CELL // size)))


def _thumbnail(pixels: np.ndarray, cell: int) -> Image.Image:
    method = Image.Resampling.NEAREST if cell >= len(pixels) else Image.Resampling.BOX
    return to_pil(pixels).resize((cell, cell), method).convert("RGB")
