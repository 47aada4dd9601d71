import os

import numpy as np
import pytest
import torch

from tests.unit.worker.numbers import noise
from worker.references.feature_file import ExactFeatures, load, quantise, quantised, save

CPU = torch.device("cpu")
MATRICES = [noise(4, 6), 1e8 * noise(4, 6, seed=1), 1e-20 * noise(4, 6, seed=2), torch.zeros(4, 6)]


def read(series, dtype=torch.float32):
    return [series.matrix(index, CPU, dtype) for index in range(len(MATRICES))]


def back(matrix):
    means, values, exponent = quantised(matrix)
    return torch.from_numpy(means) + torch.from_numpy(values).float() * 2.0**exponent


def deviation(matrix):
    return (matrix - matrix.mean(0)).abs()


@pytest.mark.parametrize("size", [1e-20, 1.0, 65504.0, 1e30, 1e36])
def test_numbers_of_any_size_keep_eleven_binary_digits(size):
    matrix = noise(8, 50).clamp(-1, 1) * size
    error = (back(matrix) - matrix).abs()
    assert (error <= 2**-11 * deviation(matrix) + 2**-22 * size).all()


def test_numbers_too_small_for_float32_are_as_good_as_zero():
    assert back(1e-38 * noise(8, 50)).abs().max() < 1e-37


def test_a_massive_channel_does_not_drown_the_others():
    matrix = noise(8, 50)
    matrix[:, 3] *= 40_000
    error = (back(matrix) - matrix).abs()
    assert (error <= 2**-11 * deviation(matrix) + 2**-22 * matrix.abs()).all()


def test_massive_channels_that_all_images_share_leave_distances_as_they_are():
    """As in DiTs; rounding 40000 itself to float16 would be wrong by up to 16."""
    matrix = noise(16, 2000)
    matrix[:, ::100] = 40_000 + 10 * matrix[:, ::100]
    assert torch.allclose(torch.pdist(back(matrix)), torch.pdist(matrix), rtol=1e-3)
    assert not torch.allclose(torch.pdist(matrix.half().float()), torch.pdist(matrix), rtol=1e-1)


@pytest.mark.parametrize("power", [-30, 0, 30])
def test_a_power_of_two_changes_the_exponent_and_no_digit(power):
    mean, plain, exponent = quantised(MATRICES[0])
    moved_mean, scaled, moved = quantised(MATRICES[0] * 2.0**power)
    assert np.array_equal(mean * 2.0**power, moved_mean)
    assert np.array_equal(plain, scaled)
    assert moved == exponent + power


def test_what_was_saved_is_what_would_have_been_kept_in_memory(tmp_path):
    exponents = save(tmp_path, "features", iter(MATRICES), len(MATRICES))
    saved, kept = load(tmp_path, "features", exponents, 4, 6), quantise(iter(MATRICES))
    assert isinstance(saved.values, np.memmap)
    assert isinstance(saved.means, np.memmap)
    assert saved.size_bytes == kept.size_bytes == len(MATRICES) * (4 * 2 + 4) * 6
    for found, same, matrix in zip(read(saved), read(kept), MATRICES, strict=True):
        assert torch.equal(found, same)
        assert torch.equal(found, back(matrix))


def test_a_matrix_has_the_dtype_asked_for():
    assert read(quantise(MATRICES), torch.float64)[1].dtype == torch.float64
    assert torch.equal(read(quantise(MATRICES), torch.float64)[1].float(), read(quantise(MATRICES))[1])


def test_exact_features_are_what_was_computed():
    exact = ExactFeatures(MATRICES)
    assert all(torch.equal(found, matrix) for found, matrix in zip(read(exact), MATRICES, strict=True))
    assert exact.size_bytes == len(MATRICES) * 4 * 6 * 4


def test_there_may_be_no_timesteps():
    assert quantise(()).size_bytes == 0


@pytest.mark.parametrize(("rows", "width", "count"), [(3, 6, 4), (4, 5, 4), (4, 6, 5)])
def test_files_of_another_shape_are_refused(tmp_path, rows, width, count):
    save(tmp_path, "features", MATRICES, len(MATRICES))
    with pytest.raises(ValueError, match=r"features.*\.npy holds"):
        load(tmp_path, "features", [0] * count, rows, width)


@pytest.mark.parametrize("name", ["features.npy", "features.mean.npy"])
def test_a_file_that_is_not_whole_is_refused(tmp_path, name):
    exponents = save(tmp_path, "features", MATRICES, len(MATRICES))
    os.truncate(tmp_path / name, (tmp_path / name).stat().st_size - 1)
    with pytest.raises(ValueError, match="mmap"):
        load(tmp_path, "features", exponents, 4, 6)
