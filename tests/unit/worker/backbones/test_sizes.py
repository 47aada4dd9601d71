import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from worker.backbones.sizes import SLACK_NUMBERS, check_size


@pytest.fixture
def weights(tmp_path) -> dict[str, Path]:
    """Two files of 1,100,000 numbers together."""
    for name, count in (("a.safetensors", 1_000_000), ("b.safetensors", 100_000)):
        save_file({"w": torch.zeros(count // 100, 100, dtype=torch.float16)}, tmp_path / name)
    (tmp_path / "config.json").write_text(json.dumps({}))
    return {path.name: path for path in tmp_path.iterdir()}


@pytest.mark.parametrize("described", [10, 1_100_000, 1_600_000, 1_600_000 + SLACK_NUMBERS])
def test_a_model_of_about_the_size_of_its_weights_is_let_through(weights, described):
    check_size(lambda: torch.nn.Linear(described, 1, bias=False), weights)


@pytest.mark.parametrize("described", [2_800_000, 10**13])
def test_a_model_far_larger_than_its_weights_is_refused_without_being_made(weights, described):
    with pytest.raises(ValueError, match=f"describes a model of {described:,} numbers, but its weights are 1,100,000"):
        check_size(lambda: torch.nn.Linear(described, 1, bias=False), weights)


def test_a_file_that_is_no_safetensors_is_named(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(ValueError, match=r"a\.safetensors is not a safetensors file"):
        check_size(lambda: torch.nn.Linear(1, 1), {"a.safetensors": tmp_path / "a.safetensors"})
