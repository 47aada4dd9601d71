import os

import numpy as np
import pytest
import torch

from tests.unit.worker.numbers import noise
from worker.sampling.blocks import Exact, gather, halved, load, save

CPU = torch.device("cpu")
BLOCKS = [noise(4, 6), 1e8 * noise(4, 6, seed=1), 1e-20 * noise(4, 6, seed=2), torch.zeros(4, 6)]


def read(blocks, dtype=torch.float32):
    return [blocks.block(index, CPU, dtype) for index in range(len(BLOCKS))]


@pytest.mark.parametrize("size", [1e-20, 1.0, 65504.0, 1e30, 3e38])
def test_numbers_of_any_size_keep_eleven_binary_digits(size):
    block = noise(8, 50).clamp(-1, 1) * size
    values, exponent = halved(block)
    back = torch.from_numpy(values).float() * 2.0**exponent
    large = block.abs() > size * 2**-20
    assert back.isfinite().all()
    assert ((back - block).abs() <= 2**-11 * block.abs())[large].all()


def test_numbers_too_small_for_float32_are_as_good_as_zero():
    values, exponent = halved(1e-38 * noise(8, 50))
    assert (torch.from_numpy(values).float() * 2.0**exponent).abs().max() < 1e-37


def test_a_massive_channel_does_not_drown_the_others():
    block = noise(8, 50)
    block[:, 3] = 40_000
    values, exponent = halved(block)
    back = torch.from_numpy(values).float() * 2.0**exponent
    assert torch.allclose(back, block, rtol=2**-11, atol=0)


@pytest.mark.parametrize("power", [-30, 0, 30])
def test_a_power_of_two_changes_the_exponent_and_nothing_else(power):
    plain, exponent = halved(BLOCKS[0])
    scaled, moved = halved(BLOCKS[0] * 2.0**power)
    assert np.array_equal(plain, scaled)
    assert moved == exponent + power


def test_what_was_saved_is_what_would_have_been_kept_in_memory(tmp_path):
    exponents = save(tmp_path / "blocks.npy", iter(BLOCKS), len(BLOCKS))
    saved, kept = load(tmp_path / "blocks.npy", exponents, 4, 6), gather(iter(BLOCKS))
    assert isinstance(saved.values, np.memmap)
    assert saved.size_bytes == kept.size_bytes == len(BLOCKS) * 4 * 6 * 2
    for found, same, block in zip(read(saved), read(kept), BLOCKS, strict=True):
        assert torch.equal(found, same)
        assert torch.allclose(found, block, rtol=2**-11, atol=0)


def test_a_block_has_the_dtype_asked_for():
    assert read(gather(BLOCKS), torch.float64)[1].dtype == torch.float64
    assert torch.equal(read(gather(BLOCKS), torch.float64)[1].float(), read(gather(BLOCKS))[1])


def test_exact_blocks_are_what_was_computed():
    exact = Exact(BLOCKS)
    assert all(torch.equal(found, block) for found, block in zip(read(exact), BLOCKS, strict=True))
    assert exact.size_bytes == len(BLOCKS) * 4 * 6 * 4


def test_there_may_be_no_blocks():
    assert gather(()).size_bytes == 0


@pytest.mark.parametrize(("rows", "width", "count"), [(3, 6, 4), (4, 5, 4), (4, 6, 5)])
def test_a_file_of_another_shape_is_refused(tmp_path, rows, width, count):
    save(tmp_path / "blocks.npy", BLOCKS, len(BLOCKS))
    with pytest.raises(ValueError, match=r"blocks\.npy"):
        load(tmp_path / "blocks.npy", [0] * count, rows, width)


def test_a_file_that_is_not_whole_is_refused(tmp_path):
    file = tmp_path / "blocks.npy"
    exponents = save(file, BLOCKS, len(BLOCKS))
    os.truncate(file, file.stat().st_size - 1)
    with pytest.raises(ValueError, match="mmap"):
        load(file, exponents, 4, 6)
