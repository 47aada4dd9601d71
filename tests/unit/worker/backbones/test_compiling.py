"""torch.compile for real. Fused kernels round elsewhere: results agree to 1e-5 of the largest."""

import shutil

import pytest
import torch
from torch import Tensor

from tests.unit.worker import tiny
from tests.unit.worker.numbers import noise
from worker.backbones.base import Hidden
from worker.backbones.diffusion import DiffusionBackbone
from worker.backbones.registry import BackboneRegistry
from worker.training.model import save

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++, which is not there"),
    pytest.mark.filterwarnings("default"),  # torch's compiler warns of what torch itself does
]
T = torch.tensor(500)


def gradient(hidden: Hidden, x: Tensor) -> Tensor:
    return torch.autograd.grad(hidden[0].square().sum(), x)[0]


@pytest.mark.slow
def test_compiled_blocks_predict_and_are_tapped_as_they_were(tmp_path):
    save(tmp_path / "dit", tiny.transformer(classes=2, blocks=1), ["cat", "dog"])
    plain, compiled = (
        BackboneRegistry([("", tmp_path)], torch.device("cpu"), compiled=compiled).get("dit") for compiled in (False, True)
    )
    assert isinstance(compiled, DiffusionBackbone)
    assert all(hasattr(block.forward, "_torchdynamo_orig_callable") for block in compiled._blocks)
    x, conditions = noise(2, 1, 8, 8).requires_grad_(), plain.conditions([0, 1])
    expected, ours = (one.denoise(x, T, conditions, 3.0, (1,)) for one in (plain, compiled))
    assert not ours.prediction.requires_grad
    slope = gradient(expected.hidden, x)
    hidden = compiled.hidden(x, T, conditions, (1,))
    assert torch.equal(hidden[0], ours.hidden[0])
    for result, theirs in (
        (ours.prediction, expected.prediction),
        (ours.hidden[0], expected.hidden[0]),
        (gradient(ours.hidden, x), slope),
        (gradient(hidden, x), slope),
    ):
        assert (result - theirs).abs().max() <= 1e-5 * theirs.abs().max()
