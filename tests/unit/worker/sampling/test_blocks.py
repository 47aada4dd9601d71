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


def back(block):
    means, values, exponent = halved(block)
    return torch.from_numpy(means) + torch.from_numpy(values).float() * 2.0**exponent


def deviation(block):
    return (block - block.mean(0)).abs()


@pytest.mark.parametrize("size", [1e-20, 1.0, 65504.0, 1e30, 1e36])
def test_numbers_of_any_size_keep_eleven_binary_digits(size):
    block = noise(8, 50).clamp(-1, 1) * size
    error = (back(block) - block).abs()
    assert (error <= 2**-11 * deviation(block) + 2**-22 * size).all()


def test_numbers_too_small_for_float32_are_as_good_as_zero():
    assert back(1e-38 * noise(8, 50)).abs().max() < 1e-37


def test_a_massive_channel_does_not_drown_the_others():
    block = noise(8, 50)
    block[:, 3] *= 40_000
    error = (back(block) - block).abs()
    assert (error <= 2**-11 * deviation(block) + 2**-22 * block.abs()).all()


def test_massive_channels_that_all_images_share_leave_distances_as_they_are():
    """As in DiTs; rounding 40000 itself to float16 would be wrong by up to 16."""
    block = noise(16, 2000)
    block[:, ::100] = 40_000 + 10 * block[:, ::100]
    assert torch.allclose(torch.pdist(back(block)), torch.pdist(block), rtol=1e-3)
    assert not torch.allclose(torch.pdist(block.half().float()), torch.pdist(block), rtol=1e-1)


@pytest.mark.parametrize("power", [-30, 0, 30])
def test_a_power_of_two_changes_the_exponent_and_no_digit(power):
    mean, plain, exponent = halved(BLOCKS[0])
    moved_mean, scaled, moved = halved(BLOCKS[0] * 2.0**power)
    assert np.array_equal(mean * 2.0**power, moved_mean)
    assert np.array_equal(plain, scaled)
    assert moved == exponent + power


def test_what_was_saved_is_what_would_have_been_kept_in_memory(tmp_path):
    exponents = save(tmp_path, "blocks", iter(BLOCKS), len(BLOCKS))
    saved, kept = load(tmp_path, "blocks", exponents, 4, 6), gather(iter(BLOCKS))
    assert isinstance(saved.values, np.memmap)
    assert isinstance(saved.means, np.memmap)
    assert saved.size_bytes == kept.size_bytes == len(BLOCKS) * (4 * 2 + 4) * 6
    for found, same, block in zip(read(saved), read(kept), BLOCKS, strict=True):
        assert torch.equal(found, same)
        assert torch.equal(found, back(block))


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
def test_files_of_another_shape_are_refused(tmp_path, rows, width, count):
    save(tmp_path, "blocks", BLOCKS, len(BLOCKS))
    with pytest.raises(ValueError, match=r"blocks.*\.npy holds"):
        load(tmp_path, "blocks", [0] * count, rows, width)


@pytest.mark.parametrize("name", ["blocks.npy", "blocks.mean.npy"])
def test_a_file_that_is_not_whole_is_refused(tmp_path, name):
    exponents = save(tmp_path, "blocks", BLOCKS, len(BLOCKS))
    os.truncate(tmp_path / name, (tmp_path / name).stat().st_size - 1)
    with pytest.raises(ValueError, match="mmap"):
        load(tmp_path, "blocks", exponents, 4, 6)
