"""Warn if a small backbone draws much less than the images of a dataset show."""

from app.domain.backbone import BackboneInfo
from app.domain.job import JobWarning, WarningCode
from worker.datasets.base import Dataset

SMALL_BACKBONE = 16  # pixels a side; larger backbones commonly shrink their data
LEAST_RATIO = 2  # of the sides: three quarters of the pixels are lost


def resolution_warnings(found: Dataset, info: BackboneInfo) -> list[JobWarning]:
    """DATASET_DOUBTFUL if the images are twice as large as those of a small backbone, or in colour
    where it draws grey.
    """
    if info.image_size > SMALL_BACKBONE:
        return []
    if found.side < LEAST_RATIO * info.image_size and not (found.colour and info.channels == 1):
        return []
    return [JobWarning(WarningCode.DATASET_DOUBTFUL, _message(found, info))]


def _message(found: Dataset, info: BackboneInfo) -> str:
    size, side = info.image_size, found.side
    return (
        f"the images have a short side of {side} pixels (median) in {_colours(found.colour)}; backbone {info.name} draws "
        f"{size} x {size} in {_colours(info.channels == 3)}, and real images are shrunk to that: choose a larger "
        "`backbone`, or make one of your images with `dapple train`"
    )


def _colours(coloured: bool) -> str:
    return "colour" if coloured else "grey"
