"""The blocks of a backbone that are tapped."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, cast

from pydantic import Field, Strict, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from app.domain.suggestions import nearest

MOST_TAPS = 8
MID = "mid_block"

Tap = (
    Annotated[int, Strict(), Field(ge=1)]
    | Annotated[float, Strict(), Field(gt=0, lt=1)]
    | Annotated[str, Strict(), Field(min_length=1, max_length=255)]
)


def _in_one_sentence(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """Replace pydantic's message for a union, which lists one fault for each type, by one."""
    try:
        return check(value)
    except ValidationError as error:
        raise ValueError(_fault(value)) from error


Taps = Annotated[
    Tap | Annotated[tuple[Tap, ...], Field(min_length=1, max_length=MOST_TAPS)] | None, WrapValidator(_in_one_sentence)
]


def positions(tap: Any, names: Sequence[str]) -> tuple[int, ...]:
    """The numbers of the tapped blocks, ascending and distinct; 1 is the first block.

    `names`: the backbone's blocks by depth. If `tap` is None, it is the mid block of a U-Net, and
    the middle block of any other model. Raises ValueError that names an unknown block.
    """
    if tap is None:
        return (names.index(MID) + 1 if MID in names else max(1, len(names) // 2),)
    given = cast("Sequence[Any]", tap) if isinstance(tap, list | tuple) else [tap]
    return tuple(sorted({_position(one, names) for one in given}))


def _position(tap: int | float | str, names: Sequence[str]) -> int:
    if isinstance(tap, float):
        return max(1, math.ceil(tap * len(names) - 1e-9))  # 0.28 of 25 blocks is block 7, but 0.28 * 25 > 7 in floats
    if isinstance(tap, str):
        if tap not in names:
            raise ValueError(f"there is no block {tap!r}; {nearest(tap, names)}")
        return names.index(tap) + 1
    if tap > len(names):
        raise ValueError(f"there are {len(names)} blocks and no block {tap}")
    return tap


def _fault(value: Any) -> str:
    if isinstance(value, float):
        return "a fraction of the depth is above 0 and below 1; a block's number is whole: 1, not 1.0, for the first"
    if isinstance(value, int) and not isinstance(value, bool):
        return "blocks are numbered from 1"
    if isinstance(value, list | tuple) and not 1 <= len(cast("Sequence[Any]", value)) <= MOST_TAPS:
        return f"a list must have 1 to {MOST_TAPS} blocks"
    each = "every block of a list must be" if isinstance(value, list | tuple) else "must be"
    either = "" if isinstance(value, list | tuple) else f", or a list of 1 to {MOST_TAPS} of these"
    return f"{each} a number from 1, a name, or a fraction of the depth above 0 and below 1{either}"
