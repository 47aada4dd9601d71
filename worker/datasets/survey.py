"""Survey a dataset before it is loaded: its classes, and size and colour of a bounded sample."""

import io
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from app.datasets.image_folder import Item, arrange, items_of
from app.domain.dataset_uri import BUNDLED, DatasetUri, resolve_local
from app.domain.errors import DatasetRejected
from app.domain.text import storable
from worker.datasets.decode import FORMATS, MAX_PIXELS, BadImage, Pixels
from worker.datasets.decode_pool import Refused, decoders
from worker.datasets.load import opened
from worker.datasets.readers.files import Files
from worker.progress import Heartbeat, no_heartbeat

MOST_SURVEYED = 64
COLOUR_SIZE = 32  # pixels a side for the detection of colour
LEAST_DIFFERENCE = 16  # of 255 between two channels; JPEG makes grey images differ by less


@dataclass(frozen=True)
class Survey:
    """The result of a survey.

    `side` is the median of the short sides in pixels. `colour`: whether any image of the sample has
    colours. `escaped` are the classes whose folder names are not UTF-8; their names contain the
    bytes as escapes.
    """

    classes: tuple[str, ...]
    side: int
    colour: bool
    escaped: tuple[str, ...] = ()


def survey(
    uri: DatasetUri,
    roots: Sequence[Path],
    *,
    classes: Sequence[str] | None = None,
    max_pixels: int = MAX_PIXELS,
    heartbeat: Heartbeat = no_heartbeat,
) -> Survey:
    """Survey the classes and at most MOST_SURVEYED images, evenly spread over the dataset.

    For folders and zips, only existing `classes` count; None is all. A file with more than
    `max_pixels` counts as damaged. Calls `heartbeat` after each image, which may raise to stop.
    Raises InvalidSpec for a path outside `roots`, DatasetRejected if no image can be decoded.
    """
    if uri.scheme == "sklearn":
        return Survey(BUNDLED[uri.name], side=8, colour=False)
    files, listing = opened(resolve_local(uri, roots), roots)
    layout = arrange(listing)
    chosen = tuple(name for name in layout.classes if classes is None or name in set(classes))
    items = items_of(layout, chosen, files.read).items
    sides, colour = _look(files, [items[i] for i in _spread(len(items))], max_pixels, heartbeat)
    folders = {(item.class_name, item.path.rpartition("/")[0]) for item in items}
    escaped = {name for name, folder in folders if storable(folder) != folder}
    return Survey(chosen, round(statistics.median(sides)), colour, tuple(sorted(escaped)))


def _spread(count: int) -> list[int]:
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, MOST_SURVEYED))})


def _look(files: Files, items: Sequence[Item], max_pixels: int, heartbeat: Callable[[], None]) -> tuple[list[int], bool]:
    """The short sides, and whether any image has colours.

    A child decodes each image before this process reads its header.
    """
    sides: list[int] = []
    bad: list[str] = []
    colour = False
    for item in items:
        try:
            side, coloured = _look_at(files, item, max_pixels)
            sides.append(side)
            colour = colour or coloured
        except BadImage as error:
            bad.append(str(error))
        heartbeat()
    if not sides:
        raise DatasetRejected(f"none of {len(items)} images looked at can be used: {'; '.join(bad[:5])}")
    return sides, colour


def _look_at(files: Files, item: Item, max_pixels: int) -> tuple[int, bool]:
    """The short side in pixels, and whether the image has colours. Raises BadImage."""
    content = files.read(item.path)
    (decoded,) = decoders(max_pixels).decode([content], Pixels(COLOUR_SIZE, channels=3, max_pixels=max_pixels))
    if isinstance(decoded, Refused):
        raise BadImage(item.name, decoded.reason)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return min(image.size), _has_colour(decoded)
    except Image.DecompressionBombError as error:  # Pillow's own limit may be below `max_pixels`
        raise BadImage(item.name, str(error)) from error


def _has_colour(pixels: np.ndarray) -> bool:
    return int(np.ptp(pixels, axis=-1).max()) > LEAST_DIFFERENCE
