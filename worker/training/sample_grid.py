"""The images that the model draws so far, beside real images of the same classes."""

from collections.abc import Sequence

import numpy as np
import torch
from diffusers import DiTTransformer2DModel
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from app.domain.backbone import BackboneInfo, Family
from app.domain.spec.sampling import Sampling, Scheduler
from worker.backbones.dit import DiTBackbone
from worker.datasets.tensors import to_pixels
from worker.progress import ReportProgress
from worker.sampling.loop import sample
from worker.seeds import generator
from worker.training.model import noise_schedule

MOST_CLASSES = 10
COLUMNS = 4
SAMPLING = Sampling(scheduler=Scheduler.DDIM, steps=20, cfg_scale=2.0)
LEAST_CELL = 64
GAP = 4
FONT_SIZE = 14
LONGEST_NAME = 24

Columns = UInt8[np.ndarray, "rows columns height width channels"]


def drawn(model: DiTTransformer2DModel, rows: int, seed: int, report: ReportProgress) -> Columns:
    """COLUMNS images of each of the first `rows` classes, from noise that depends on `seed` alone.

    `report` is called after each denoising step and may raise to stop.
    """
    backbone = _unsaved_backbone(model)
    labels = [label for label in range(rows) for _ in range(COLUMNS)]
    noise = [generator(seed, "sample grid", image) for image in range(len(labels))]
    latents = sample(backbone, backbone.conditions(labels), noise, SAMPLING, report=report).latents
    return _columns(to_pixels(backbone.decode(latents)), rows)


def _unsaved_backbone(model: DiTTransformer2DModel) -> DiTBackbone:
    config = model.config
    info = BackboneInfo(
        name="training",
        family=Family.DIT,
        block_names=(),
        image_size=config.sample_size,
        channels=config.in_channels,
        label_count=config.num_embeds_ada_norm,
    )
    return DiTBackbone(info, revision="", transformer=model, vae=None, scheduler_config=dict(noise_schedule().config))


def real(images: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"], rows: int) -> Columns:
    """The first COLUMNS training images of each class, repeated where a class has fewer."""
    chosen = [torch.nonzero(labels == label).flatten()[:COLUMNS] for label in range(rows)]
    indices = torch.cat([some.repeat(COLUMNS)[:COLUMNS] for some in chosen])
    return _columns(to_pixels(images[indices]), rows)


def grid(left: Columns, right: Columns, classes: Sequence[str]) -> Image.Image:
    """A picture with a row per class: its name, drawn images, real images.

    Small images are enlarged by a whole factor.
    """
    font = ImageFont.load_default(FONT_SIZE)
    names = [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in classes[: len(left)]]
    names = [name.encode("utf-8", "replace").decode() for name in names]
    margin = 3 * GAP + round(max(font.getlength(name) for name in names))
    cell = left.shape[3] * max(1, -(-LEAST_CELL // left.shape[3]))
    starts = (margin, margin + COLUMNS * (cell + GAP) + 3 * GAP)
    top = 2 * GAP + FONT_SIZE
    sheet = Image.new("RGB", (starts[1] + COLUMNS * (cell + GAP), top + len(left) * (cell + GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    for start, title, side in zip(starts, ("drawn", "real"), (left, right), strict=True):
        draw.text((start, GAP), title, fill="black", font=font)
        for row, images in enumerate(side):
            for column, pixels in enumerate(images):
                sheet.paste(_enlarged(pixels, cell), (start + column * (cell + GAP), top + row * (cell + GAP)))
    for row, name in enumerate(names):
        draw.text((GAP, top + row * (cell + GAP) + cell // 2), name, fill="black", font=font, anchor="lm")
    return sheet


def _columns(images: np.ndarray, rows: int) -> Columns:
    return images.reshape(rows, COLUMNS, *images.shape[1:])


def _enlarged(pixels: np.ndarray, cell: int) -> Image.Image:
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[-1] == 1 else pixels)
    return image.resize((cell, cell), Image.Resampling.NEAREST).convert("RGB")
