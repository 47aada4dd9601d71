"""Warn if a small backbone draws much less than the images of a dataset show."""

from app.domain.backbone import BackboneInfo
from app.domain.errors import DatasetRejected
from app.domain.job import JobWarning, WarningCode
from worker.datasets.cache import Source
from worker.datasets.survey import Survey, survey
from worker.progress import Heartbeat

SMALL_BACKBONE = 16  # pixels a side; larger backbones commonly shrink their data, and listing it again may take minutes
LEAST_RATIO = 2  # of the sides: three quarters of the pixels are lost


def resolution_warnings(source: Source, info: BackboneInfo, heartbeat: Heartbeat) -> list[JobWarning]:
    """DATASET_DOUBTFUL if the images are twice as large as those of a small backbone, or in colour
    where it draws grey.

    There is no warning if no image of the sample can be read; the whole dataset is judged
    elsewhere. `heartbeat` is called after each image and may raise to stop.
    """
    if info.image_size > SMALL_BACKBONE:
        return []
    try:
        found = survey(source.uri, source.roots, classes=source.classes, max_pixels=source.max_pixels, heartbeat=heartbeat)
    except DatasetRejected:
        return []
    if found.side < LEAST_RATIO * info.image_size and not (found.colour and info.channels == 1):
        return []
    return [JobWarning(WarningCode.DATASET_DOUBTFUL, _message(found, info))]


def _message(found: Survey, info: BackboneInfo) -> str:
    size, side = info.image_size, found.side
    return (
        f"the images have a short side of {side} pixels (median) in {_colours(found.colour)}; backbone {info.name} draws "
        f"{size} x {size} in {_colours(info.channels == 3)}, and real images are shrunk to that: choose a larger "
        "`backbone`, or make one of your images with `dapple train`"
    )


def _colours(coloured: bool) -> str:
    return "colour" if coloured else "grey"
