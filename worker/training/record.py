"""Files that show the user how a training goes: samples.png, loss.csv, loss.png."""

from collections.abc import Callable, Sequence
from pathlib import Path

from diffusers import DiTTransformer2DModel
from jaxtyping import Float, Int
from torch import Tensor

from worker.training.durable import reported_failures, write_image
from worker.training.loss_curve import LossCurve
from worker.training.sample_grid import MOST_CLASSES, drawn, grid, real


class StoppedDrawing(Exception):
    """The drawing of samples was abandoned, because the run has to stop."""


class Record:
    """Writes the files into `folder`. `stop_requested()` ends the drawing between two steps."""

    def __init__(
        self,
        folder: Path,
        images: Float[Tensor, "n c h w"],
        labels: Int[Tensor, " n"],
        classes: Sequence[str],
        *,
        seed: int,
        stop_requested: Callable[[], bool],
    ) -> None:
        self._folder = folder
        self._classes = classes
        self._rows = min(len(classes), MOST_CLASSES)
        self._real = real(images, labels, self._rows)
        self._seed = seed
        self._stop_requested = stop_requested

    def write(self, averaged: DiTTransformer2DModel, curve: LossCurve) -> None:
        """Write the curve so far, then images drawn with the averaged weights."""
        with reported_failures(self._folder):
            curve.write(self._folder)
            try:
                samples = drawn(averaged, self._rows, self._seed, self._go_on)
            except StoppedDrawing:
                return
            write_image(self._folder / "samples.png", grid(samples, self._real, self._classes))

    def _go_on(self, _done: int, _steps: int) -> None:
        if self._stop_requested():
            raise StoppedDrawing
