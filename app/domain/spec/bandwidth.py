"""The Mercer kernel of a job, and its bandwidth."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, StringConstraints

MEDIAN = "median"
MULTIPLE = r"^(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?x$"
MOST_BANDWIDTHS = 16


class Kernel(StrEnum):
    """A Mercer kernel K(a,b) with bandwidth h and d = |a-b|."""

    LINEAR = "linear"  # <a,b>
    RBF = "rbf"  # exp(-d^2 / (2 h^2))
    LAPLACIAN = "laplacian"  # exp(-d / h)
    INVERSE_MULTIQUADRIC = "inverse-multiquadric"  # (1 + d^2 / (2 h^2))^(-1/2)
    POLYNOMIAL = "polynomial"  # (<a,b> / length + 1)^3

    @property
    def has_bandwidth(self) -> bool:
        return self not in (Kernel.LINEAR, Kernel.POLYNOMIAL)


def parse_bandwidth(value: Any) -> Any:
    """The canonical form of a bandwidth.

    It is a float, "median", a multiple of the median like "0.5x", a tuple of floats and multiples,
    or None. Raises ValueError for anything else.
    """
    if value is None or value == MEDIAN:
        return value
    if isinstance(value, list | tuple):
        return _list(cast("Sequence[Any]", value))
    one = _one(value)
    if one is None:
        raise ValueError(
            'must be a number above 0, "median", a multiple of it such as "0.5x", or for kernel rbf a list of these'
        )
    return one


Multiple = Annotated[str, StringConstraints(pattern=MULTIPLE)]
Bandwidth = Annotated[
    float | Literal["median"] | Multiple | tuple[float | Multiple, ...] | None,
    BeforeValidator(parse_bandwidth),
]


@dataclass(frozen=True)
class KernelChoice:
    """The kernel and the bandwidth of a job. A kernel without a bandwidth has None."""

    kernel: Kernel = Kernel.RBF
    bandwidth: Bandwidth = MEDIAN


def in_feature_units(bandwidth: float | str, median: float) -> float:
    """One parsed bandwidth as a finite number above 0, in the units of the features.

    `median`: the median distance of the real features, above 0.
    """
    if bandwidth == MEDIAN:
        return median
    if isinstance(bandwidth, str):
        return min(max(float(bandwidth[:-1]) * median, sys.float_info.min), sys.float_info.max)
    return bandwidth


def bandwidth_of(kernel: Kernel, bandwidth: Bandwidth) -> Bandwidth:
    """The bandwidth, or the kernel's default for None. Raises ValueError if they do not match."""
    if isinstance(bandwidth, tuple) and kernel.has_bandwidth and kernel is not Kernel.RBF:
        raise ValueError(f"the {kernel} kernel has one bandwidth; a list of them is for kernel rbf")
    if kernel.has_bandwidth:
        return MEDIAN if bandwidth is None else bandwidth
    if bandwidth is not None:
        raise ValueError(f"the {kernel} kernel has no bandwidth; leave the bandwidth out, or choose kernel rbf")
    return None


def _list(values: Sequence[Any]) -> tuple[float | str, ...]:
    if not 1 <= len(values) <= MOST_BANDWIDTHS:
        raise ValueError(f"a list must have 1 to {MOST_BANDWIDTHS} bandwidths")
    parsed = [_one(value) for value in values]
    if None in parsed:
        raise ValueError('every bandwidth of a list must be a number above 0 or a multiple of the median such as "0.5x"')
    return tuple(one for one in parsed if one is not None)


def _one(value: Any) -> float | str | None:
    """A float, or a multiple of the median with its shortest number; None if `value` is neither."""
    if isinstance(value, str):
        factor = float(value[:-1]) if re.fullmatch(MULTIPLE, value, re.ASCII) else 0.0
        return f"{repr(factor).removesuffix('.0')}x" if _is_finite_above_0(factor) else None
    if isinstance(value, int | float) and not isinstance(value, bool) and _is_finite_above_0(value):
        return float(value)
    return None


def _is_finite_above_0(number: float) -> bool:
    return 0 < number <= sys.float_info.max
