"""Features of many timesteps, one block of rows for each: exact in memory, or halved in memory or on disk."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float16, Float32
from torch import Tensor

LARGEST = 15  # the largest value of a block lies in [2^14, 2^15): float16 ends at 65504
LEAST_EXPONENT = -100  # its inverse and its products stay within float32


@runtime_checkable
class Blocks(Protocol):
    """Blocks of equally many rows."""

    @property
    def size_bytes(self) -> int: ...

    def block(self, index: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "rows d"]:
        """One of them; only that one is read."""
        ...


@dataclass(frozen=True, eq=False)
class Exact:
    """Blocks as they were computed."""

    values: Sequence[Float[Tensor, "rows d"]]

    @property
    def size_bytes(self) -> int:
        return sum(block.nbytes for block in self.values)

    def block(self, index: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "rows d"]:
        return self.values[index].to(device, dtype)


@dataclass(frozen=True, eq=False)
class Halves:
    """Block i is means[i] + values[i] * 2^exponents[i]; the numbers may lie in mapped files."""

    means: Float32[np.ndarray, "blocks d"]
    values: Float16[np.ndarray, "blocks rows d"]
    exponents: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return self.means.nbytes + self.values.nbytes

    def block(self, index: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "rows d"]:
        mean, values = (torch.from_numpy(np.array(part[index])).to(device).to(dtype) for part in (self.means, self.values))
        return values.mul_(2.0 ** self.exponents[index]).add_(mean)


def halved(
    block: Float[Tensor, "rows d"],
) -> tuple[Float32[np.ndarray, " d"], Float16[np.ndarray, "rows d"], int]:
    """Mean a, values v and exponent e with block = a + v * 2^e, each number to 2^-11 of its distance from the mean.

    A few hidden channels of a transformer are thousands of times as large as the rest, and almost the same for all images
    (Sun et al., arXiv 2402.17762). Without the mean their rounding alone would be as long as the distances that kernels see.
    The power of two keeps all within float16: only what is below 2^-29 of the largest deviation loses more digits.
    """
    mean = block.mean(0).float()
    deviation = block - mean
    exponent = max(int(torch.frexp(deviation.abs().amax()).exponent) - LARGEST, LEAST_EXPONENT)
    return mean.numpy(), deviation.mul_(2.0**-exponent).half().numpy(), exponent


def gather(blocks: Iterable[Float[Tensor, "rows d"]]) -> Halves:
    """The blocks in memory, as `save` and `load` would give them back."""
    parts = [halved(block) for block in blocks]
    if not parts:
        return Halves(np.zeros((0, 0), np.float32), np.zeros((0, 0, 0), np.float16), ())
    means, values, exponents = zip(*parts, strict=True)
    return Halves(np.stack(means), np.stack(values), exponents)


def save(folder: Path, name: str, blocks: Iterable[Float[Tensor, "rows d"]], count: int) -> tuple[int, ...]:
    """Write `count` blocks to two new .npy files, one block at a time; their exponents.

    Raises OSError where the disk is full. Written, not mapped: a mapped page without room on the disk kills the process.
    """
    exponents: list[int] = []
    with _means_of(folder, name).open("xb") as means_file, _values_of(folder, name).open("xb") as values_file:
        for block in blocks:
            means, values, exponent = halved(block)
            for stream, part in ((means_file, means), (values_file, values)):
                if not exponents:
                    header = {"descr": part.dtype.str, "fortran_order": False, "shape": (count, *part.shape)}
                    np.lib.format.write_array_header_1_0(stream, header)
                stream.write(np.ascontiguousarray(part).data)
            exponents.append(exponent)
    return tuple(exponents)


def load(folder: Path, name: str, exponents: Sequence[int], rows: int, width: int) -> Halves:
    """What `save` wrote, mapped. Raises OSError, EOFError or ValueError if a file is not whole or not of this shape."""
    means = _mapped(_means_of(folder, name), np.float32, (len(exponents), width))
    values = _mapped(_values_of(folder, name), np.float16, (len(exponents), rows, width))
    return Halves(means, values, tuple(exponents))


def _means_of(folder: Path, name: str) -> Path:
    return folder / f"{name}.mean.npy"


def _values_of(folder: Path, name: str) -> Path:
    return folder / f"{name}.npy"


def _mapped(file: Path, dtype: type[np.floating], shape: tuple[int, ...]) -> np.ndarray:
    array = np.load(file, mmap_mode="r", allow_pickle=False)
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(f"{file} holds {array.dtype} {array.shape}")
    return array
