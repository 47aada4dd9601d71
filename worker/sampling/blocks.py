"""Features of many timesteps, one block of rows for each: exact in memory, or halved in memory or on disk."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float16
from torch import Tensor

LARGEST = 15  # the largest number of a block lies in [2^14, 2^15): float16 ends at 65504
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
    """Block i is values[i] * 2^exponents[i]; the values may lie in a mapped file."""

    values: Float16[np.ndarray, "blocks rows d"]
    exponents: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return self.values.nbytes

    def block(self, index: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "rows d"]:
        half = torch.from_numpy(np.array(self.values[index]))
        return half.to(device).to(dtype) * 2.0 ** self.exponents[index]


def halved(block: Float[Tensor, "rows d"]) -> tuple[Float16[np.ndarray, "rows d"], int]:
    """Values v and exponent e with block = v * 2^e, up to float16's rounding: to 2^-11 of each number.

    A power of two for the whole block, because a few hidden channels of a transformer may be thousands of times as large as
    the rest (Sun et al., arXiv 2402.17762): nothing overflows, and only numbers below 2^-29 of the largest lose more digits.
    """
    exponent = max(int(torch.frexp(block.abs().amax()).exponent) - LARGEST, LEAST_EXPONENT)
    return (block * 2.0**-exponent).to(torch.float16).cpu().numpy(), exponent


def gather(blocks: Iterable[Float[Tensor, "rows d"]]) -> Halves:
    """The blocks in memory, as `save` and `load` would give them back."""
    halves = [halved(block) for block in blocks]
    values = np.stack([value for value, _ in halves]) if halves else np.zeros((0, 0, 0), np.float16)
    return Halves(values, tuple(exponent for _, exponent in halves))


def save(file: Path, blocks: Iterable[Float[Tensor, "rows d"]], count: int) -> tuple[int, ...]:
    """Write `count` >= 1 blocks to a new .npy, one at a time; their exponents.

    Raises OSError where the disk is full. Written, not mapped: a mapped page without room on the disk kills the process.
    """
    exponents: list[int] = []
    with file.open("xb") as stream:
        for block in blocks:
            values, exponent = halved(block)
            if not exponents:
                header = {"descr": values.dtype.str, "fortran_order": False, "shape": (count, *values.shape)}
                np.lib.format.write_array_header_1_0(stream, header)
            stream.write(np.ascontiguousarray(values).data)
            exponents.append(exponent)
    return tuple(exponents)


def load(file: Path, exponents: Sequence[int], rows: int, width: int) -> Halves:
    """What `save` wrote, mapped. Raises OSError, EOFError or ValueError if the file is not whole or not of this shape."""
    values = np.load(file, mmap_mode="r", allow_pickle=False)
    if values.dtype != np.float16 or values.shape != (len(exponents), rows, width):
        raise ValueError(f"{file} holds {values.dtype} {values.shape}")
    return Halves(values, tuple(exponents))
