"""The Mercer kernel a job asks for, and its bandwidth."""

import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator

MEDIAN = "median"
MOST_BANDWIDTHS = 16


class Kernel(StrEnum):
    LINEAR = "linear"
    RBF = "rbf"
    LAPLACIAN = "laplacian"
    INVERSE_MULTIQUADRIC = "inverse-multiquadric"
    POLYNOMIAL = "polynomial"

    @property
    def has_bandwidth(self) -> bool:
        return self not in (Kernel.LINEAR, Kernel.POLYNOMIAL)


def parse_bandwidth(value: Any) -> Any:
    """A number above 0, "median", a tuple of numbers above 0, or None. Raises ValueError for anything else."""
    if value is None or value == MEDIAN:
        return value
    if isinstance(value, list | tuple):
        return _ladder(cast("Sequence[Any]", value))
    if not _is_bandwidth(value):
        raise ValueError('must be a number above 0, "median", or for kernel rbf a list of numbers above 0')
    return float(value)


Bandwidth = Annotated[float | Literal["median"] | tuple[float, ...] | None, BeforeValidator(parse_bandwidth)]


def bandwidth_of(kernel: Kernel, bandwidth: Bandwidth) -> Bandwidth:
    """The bandwidth with the kernel's default in place of None. Raises ValueError if the kernel cannot have this one."""
    if isinstance(bandwidth, tuple) and kernel.has_bandwidth and kernel is not Kernel.RBF:
        raise ValueError(f"the {kernel} kernel has one bandwidth; a list of them is for kernel rbf")
    if kernel.has_bandwidth:
        return MEDIAN if bandwidth is None else bandwidth
    if bandwidth is not None:
        raise ValueError(f"the {kernel} kernel has no bandwidth; leave it out or choose kernel rbf")
    return None


def _ladder(values: Sequence[Any]) -> tuple[float, ...]:
    if not 1 <= len(values) <= MOST_BANDWIDTHS:
        raise ValueError(f"a list must have 1 to {MOST_BANDWIDTHS} bandwidths")
    if not all(map(_is_bandwidth, values)):
        raise ValueError("every bandwidth of a list must be a number above 0")
    return tuple(map(float, values))


def _is_bandwidth(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= sys.float_info.max
