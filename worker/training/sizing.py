"""Chooses the sizes of images and model from the data, where the user chose none."""

from dataclasses import dataclass

from app.domain.errors import InvalidSpec
from worker.datasets.library import Survey
from worker.training.model import Architecture, largest_patch

HEAD_DIM = Architecture.head_dim
LEAST_SIZE, LARGEST_SIZE = 4, 64
LARGEST_DEFAULT_SIZE = 32  # images of 64 pixels cost at least four times as much
LEAST_HEADS = 3
TRIAL_STEPS, TRIAL_SIZE = 100, 8
LEAST_TOKENS = 16  # fewer tokens leave attention nothing to relate
LARGEST_TOKEN_NUMBERS = 64  # more numbers need a width that a CPU cannot train in an hour
WIDTH_PER_NUMBER = 2.5  # 2 is the minimum; 2.5 drew ImageNette at 32 pixels and MNIST


@dataclass(frozen=True)
class Wishes:
    """The choices of the user. None leaves a choice to the data."""

    image_size: int | None = None
    channels: int | None = None
    patch_size: int | None = None
    heads: int | None = None
    blocks: int = Architecture.blocks


def architecture_for(survey: Survey, wishes: Wishes) -> Architecture:
    """The architecture for images like the surveyed ones.

    Raises InvalidSpec naming the wish that cannot be met.
    """
    if wishes.channels == 2:
        raise InvalidSpec.of("channels", "images have 1 channel (grey) or 3 (colour)")
    channels = wishes.channels or (3 if survey.colour else 1)
    image_size = wishes.image_size or default_size(survey.side, wishes.patch_size)
    patch_size = wishes.patch_size or default_patch(image_size, channels, wishes.heads)
    return Architecture(
        image_size,
        channels,
        len(survey.classes),
        heads=wishes.heads or default_heads(patch_size, channels),
        blocks=wishes.blocks,
        patch_size=patch_size,
    )


def refuse_inexpressible(chosen: Architecture, steps: int) -> str | None:
    """Raises InvalidSpec for a model that can draw nothing but noise.

    A run of fewer than TRIAL_STEPS steps on images of at most TRIAL_SIZE pixels is a trial. For a
    trial the reason is returned instead, because so short a training draws nothing with any model.
    """
    reason = chosen.inexpressible
    if reason is None or (steps < TRIAL_STEPS and chosen.image_size <= TRIAL_SIZE):
        return reason
    raise InvalidSpec.of("patch_size", reason)


def described(survey: Survey, chosen: Architecture) -> str:
    """A description of the images and of the chosen sizes, with the options that change these."""
    size, p, c = chosen.image_size, chosen.patch_size, chosen.channels
    of_data, of_model = ("colour" if coloured else "grey" for coloured in (survey.colour, c == 3))
    return (
        f"images: {len(survey.classes)} classes, short side {survey.side} pixels (median), {of_data}\n"
        f"drawn at: {size} x {size} pixels in {of_model} (--image-size, --channels)\n"
        f"model: {(size // p) ** 2} tokens of {p} x {p} x {c} = {chosen.token_numbers} numbers, {chosen.width} wide, "
        f"{chosen.blocks} blocks (--patch-size, --heads, --blocks)"
    )


def default_size(side: int, patch_size: int | None = None) -> int:
    """`side` rounded to a multiple of the patch, at most LARGEST_DEFAULT_SIZE.

    Without a patch it is rounded to a multiple of 4, so that there are patches to choose from.
    """
    unit = patch_size or 4
    nearest = round(min(side, LARGEST_DEFAULT_SIZE) / unit) * unit
    return max(nearest, unit * -(-LEAST_SIZE // unit))


def default_patch(image_size: int, channels: int, heads: int | None = None) -> int:
    """The largest patch with at least LEAST_TOKENS tokens that the model can draw.

    Large patches are several times cheaper.
    """
    width = 2 * LARGEST_TOKEN_NUMBERS if heads is None else heads * HEAD_DIM
    largest = largest_patch(image_size, channels, width) or 1
    enough = (p for p in range(largest, 0, -1) if image_size % p == 0 and (image_size // p) ** 2 >= LEAST_TOKENS)
    return next(enough, 1)


def default_heads(patch_size: int, channels: int) -> int:
    """The number of attention heads for tokens of this patch size.

    It makes the model WIDTH_PER_NUMBER times as wide as a token has numbers.
    """
    return max(LEAST_HEADS, -(-round(WIDTH_PER_NUMBER * patch_size**2 * channels) // HEAD_DIM))
