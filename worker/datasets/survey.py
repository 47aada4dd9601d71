"""What a dataset's images are like before any is read at a size: classes, size and colour, from a bounded sample."""

import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from app.domain.dataset_uri import BUNDLED, DatasetUri, resolve_local
from app.domain.errors import DatasetRejected
from app.domain.image_folder import Item, arrange, items_of
from app.domain.text import storable
from worker.datasets.decode import FORMATS, MAX_PIXELS, BadImage, Pixels
from worker.datasets.decode_pool import Refused, decoders
from worker.datasets.load import opened
from worker.datasets.readers.files import Files

MOST_SURVEYED = 64
COLOUR_SIZE = 32  # pixels a side at which colour is looked for
LEAST_DIFFERENCE = 16  # of 255 between two channels; JPEG makes grey images differ by less


@dataclass(frozen=True)
class Survey:
    """`side` is the median of the short sides in pixels; `colour` whether any image looked at has colours.

    `escaped` are those of the classes whose folders have names that are not UTF-8; their bytes stand in the names as escapes.
    """

    classes: tuple[str, ...]
    side: int
    colour: bool
    escaped: tuple[str, ...] = ()


def survey(uri: DatasetUri, roots: Sequence[Path]) -> Survey:
    """The dataset's classes, and what MOST_SURVEYED of its images, evenly spread over it, are like.

    Raises InvalidSpec for a path outside `roots`, DatasetRejected if none of these can be decoded.
    """
    if uri.scheme == "sklearn":
        return Survey(BUNDLED[uri.name], side=8, colour=False)
    files, listing = opened(resolve_local(uri, roots), roots)
    layout = arrange(listing)
    items = items_of(layout, layout.classes, files.read).items
    sides, colour = _look(files, [items[i] for i in _spread(len(items))])
    folders = {(item.class_name, item.path.rpartition("/")[0]) for item in items}
    escaped = {name for name, folder in folders if storable(folder) != folder}
    return Survey(layout.classes, round(statistics.median(sides)), colour, tuple(sorted(escaped)))


def _spread(count: int) -> list[int]:
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, MOST_SURVEYED))})


def _look(files: Files, items: Sequence[Item]) -> tuple[list[int], bool]:
    """The short sides, and whether any image has colours. Each image is decoded in a child before its header is read here."""
    sides: list[int] = []
    bad: list[str] = []
    colour = False
    for item in items:
        try:
            content = files.read(item.path)
        except BadImage as error:
            bad.append(str(error))
            continue
        (decoded,) = decoders(MAX_PIXELS).decode([content], Pixels(COLOUR_SIZE, channels=3))
        if isinstance(decoded, Refused):
            bad.append(str(BadImage(item.name, decoded.reason)))
            continue
        colour = colour or _has_colour(decoded)
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            sides.append(min(image.size))
    if not sides:
        raise DatasetRejected(f"none of {len(items)} images looked at can be used: {'; '.join(bad[:5])}")
    return sides, colour


def _has_colour(pixels: np.ndarray) -> bool:
    return int(np.ptp(pixels, axis=-1).max()) > LEAST_DIFFERENCE
