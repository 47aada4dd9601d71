"""Features at many timesteps: exact in memory, or quantised to float16 in memory or in a file.

The features of one timestep are a matrix [rows, d]; every timestep has as many rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float16, Float32
from torch import Tensor

LARGEST_EXPONENT = 15  # the largest deviation is scaled into [2^14, 2^15): float16 ends at 65504
LEAST_EXPONENT = -100  # its inverse and its products stay within float32


@runtime_checkable
class FeatureSeries(Protocol):
    """One feature matrix per timestep."""

    @property
    def size_bytes(self) -> int: ...

    def matrix(self, index: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "rows d"]:
        """The features at timestep number `index`. Only these are read."""
        ...


@dataclass(frozen=True, eq=False)
class ExactFeatures:
    """Features as they were computed."""

    matrices: Sequence[Float[Tensor, "rows d"]]

    @property
    def size_bytes(self) -> int:
        return sum(matrix.nbytes for matrix in self.matrices)

    def matrix(self, index: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "rows d"]:
        return self.matrices[index].to(device, dtype)


@dataclass(frozen=True, eq=False)
class QuantisedFeatures:
    """Matrix i is means[i] + values[i] * 2^exponents[i]. The arrays may be mapped files."""

    means: Float32[np.ndarray, "timesteps d"]
    values: Float16[np.ndarray, "timesteps rows d"]
    exponents: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return self.means.nbytes + self.values.nbytes

    def matrix(self, index: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "rows d"]:
        mean, values = (torch.from_numpy(np.array(part[index])).to(device).to(dtype) for part in (self.means, self.values))
        return values.mul_(2.0 ** self.exponents[index]).add_(mean)


def quantised(
    matrix: Float[Tensor, "rows d"],
) -> tuple[Float32[np.ndarray, " d"], Float16[np.ndarray, "rows d"], int]:
    """Mean a, values v and exponent e with matrix = a + v * 2^e, each number to 2^-11 of its
    distance from the mean.

    A few hidden channels of a transformer are thousands of times larger than the rest and nearly
    equal for all images (Sun et al., arXiv 2402.17762). Without subtracting the mean, rounding them
    alone would be as large as the distances that kernels measure. The power of two keeps everything
    within float16: only deviations below 2^-29 of the largest lose more digits.
    """
    mean = matrix.mean(0).float()
    deviation = matrix - mean
    exponent = max(int(torch.frexp(deviation.abs().amax()).exponent) - LARGEST_EXPONENT, LEAST_EXPONENT)
    return mean.numpy(), deviation.mul_(2.0**-exponent).half().numpy(), exponent


def quantise(matrices: Iterable[Float[Tensor, "rows d"]]) -> QuantisedFeatures:
    """The matrices in memory, with the values that `save` and `load` would return."""
    parts = [quantised(matrix) for matrix in matrices]
    if not parts:
        return QuantisedFeatures(np.zeros((0, 0), np.float32), np.zeros((0, 0, 0), np.float16), ())
    means, values, exponents = zip(*parts, strict=True)
    return QuantisedFeatures(np.stack(means), np.stack(values), exponents)


def save(folder: Path, name: str, matrices: Iterable[Float[Tensor, "rows d"]], count: int) -> tuple[int, ...]:
    """Write `count` matrices to two new .npy files, one matrix at a time. Returns their exponents.

    Raises OSError if the disk is full. The files are written, not mapped: a mapped page without
    room on the disk kills the process.
    """
    exponents: list[int] = []
    with _means_file(folder, name).open("xb") as means_stream, _values_file(folder, name).open("xb") as values_stream:
        for matrix in matrices:
            means, values, exponent = quantised(matrix)
            for stream, part in ((means_stream, means), (values_stream, values)):
                if not exponents:
                    header = {"descr": part.dtype.str, "fortran_order": False, "shape": (count, *part.shape)}
                    np.lib.format.write_array_header_1_0(stream, header)
                stream.write(np.ascontiguousarray(part).data)
            exponents.append(exponent)
    return tuple(exponents)


def load(folder: Path, name: str, exponents: Sequence[int], rows: int, width: int) -> QuantisedFeatures:
    """What `save` wrote, mapped into memory.

    Raises OSError, EOFError or ValueError for an incomplete or misshapen file.
    """
    means = _mapped(_means_file(folder, name), np.float32, (len(exponents), width))
    values = _mapped(_values_file(folder, name), np.float16, (len(exponents), rows, width))
    return QuantisedFeatures(means, values, tuple(exponents))


def _means_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.mean.npy"


def _values_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.npy"


def _mapped(file: Path, dtype: type[np.floating], shape: tuple[int, ...]) -> np.ndarray:
    array = np.load(file, mmap_mode="r", allow_pickle=False)
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(f"{file} holds {array.dtype} {array.shape}")
    return array
