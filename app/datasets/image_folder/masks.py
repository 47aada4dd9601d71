"""Masks among the images of a class, as segmentation datasets have them."""

import re
from collections.abc import Sequence

_MASK = re.compile(r"(.+)[ ._-](masks?|seg|segmentation|gt|ground_?truth|label|annotation|trimap|matte)([ _-]?\d+)?", re.I)


def masks_beside(names: Sequence[str]) -> str | None:
    """A doubt if files such as `cat/1_mask.png` lie beside `cat/1.jpg`; None if there are none."""
    of_image: dict[str, list[str]] = {}
    for name in names:
        found = _MASK.fullmatch(_stem(name))
        if found is not None:
            of_image.setdefault(found[1], []).append(name)
    if not of_image:
        return None
    beside = [(mask, name) for name in names for mask in of_image.get(_stem(name), ())]
    if not beside:
        return None
    mask, image = beside[0]
    return (
        f"files named as masks of others: {len(beside):,} ({mask} beside {image}); they are read as images of their class: "
        "move them elsewhere if they are masks"
    )


def _stem(name: str) -> str:
    return name.rpartition(".")[0]
