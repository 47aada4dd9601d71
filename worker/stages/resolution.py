"""Whether a small backbone draws much less than the images of a dataset show."""

from collections.abc import Callable

from app.domain.errors import DatasetRejected
from app.domain.job import JobWarning, WarningCode
from worker.backbones.base import Backbone
from worker.datasets.cache import Source
from worker.datasets.survey import Survey, survey

SMALL_BACKBONE = 16  # pixels a side; at larger ones data sets are commonly shrunk, and listing them again may take minutes
LEAST_RATIO = 2  # of the sides: three quarters of the pixels are lost


def resolution_warnings(source: Source, backbone: Backbone, tick: Callable[[], None]) -> list[JobWarning]:
    """DATASET_DOUBTFUL if the images are twice as large as a small backbone's, or in colour where it draws grey.

    None where no image of a sample can be read: the dataset itself, with all of its images, is judged elsewhere. `tick` is
    called after each image and may raise to stop.
    """
    if backbone.image_size > SMALL_BACKBONE:
        return []
    try:
        found = survey(source.uri, source.roots, classes=source.classes, max_pixels=source.max_pixels, tick=tick)
    except DatasetRejected:
        return []
    if found.side < LEAST_RATIO * backbone.image_size and not (found.colour and backbone.channels == 1):
        return []
    return [JobWarning(WarningCode.DATASET_DOUBTFUL, _message(found, backbone))]


def _message(found: Survey, backbone: Backbone) -> str:
    size, side = backbone.image_size, found.side
    return (
        f"the images have a short side of {side} pixels (median) in {_colours(found.colour)}; backbone {backbone.name} draws "
        f"{size} x {size} in {_colours(backbone.channels == 3)}, and real images are shrunk to that: choose a larger "
        "`backbone`, or make one of your images with `dapple train`"
    )


def _colours(coloured: bool) -> str:
    return "colour" if coloured else "grey"
