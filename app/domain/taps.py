"""Which blocks of a backbone are tapped."""

import math
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Any, cast

from pydantic import Field, Strict

MOST_TAPS = 8
MID = "mid_block"

Tap = (
    Annotated[int, Strict(), Field(ge=1)]
    | Annotated[float, Strict(), Field(gt=0, lt=1)]
    | Annotated[str, Strict(), Field(min_length=1, max_length=255)]
)


def positions(tap: Any, names: Sequence[str]) -> tuple[int, ...]:
    """The numbers of the tapped blocks, 1 = the first, ascending and each once; `names` are the backbone's, in order of depth.

    No tap is the mid block of a UNet, and the middle of any other model. Raises ValueError naming one that there is not.
    """
    if tap is None:
        return (names.index(MID) + 1 if MID in names else max(1, len(names) // 2),)
    given = cast("Sequence[Any]", tap) if isinstance(tap, list | tuple) else [tap]
    return tuple(sorted({_position(one, names) for one in given}))


def _position(tap: int | float | str, names: Sequence[str]) -> int:
    if isinstance(tap, float):
        return math.ceil(tap * len(names))
    if isinstance(tap, str):
        if tap not in names:
            alike = get_close_matches(tap, names, n=3) or [names[0], names[-1]]
            raise ValueError(f"there is no block {tap!r}; nearest: {', '.join(alike)}")
        return names.index(tap) + 1
    if tap > len(names):
        raise ValueError(f"there are {len(names)} blocks and no block {tap}")
    return tap
