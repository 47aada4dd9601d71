from pathlib import Path

import psutil
import pytest
import torch

from app.backbones.catalog import find
from app.domain.errors import BackboneUnavailable, InvalidSpec, PermanentError
from tests.unit.worker import tiny
from worker.backbones.diffusion import DiffusionBackbone
from worker.backbones.registry import BackboneRegistry, device_named, dtype_named, memory_bytes_of
from worker.training.model import save

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture
def roots(tmp_path) -> list[tuple[str, Path]]:
    for name in "abc":
        save(tmp_path / name, tiny.transformer(classes=2, blocks=1), ["cat", "dog"])
    return [("mine/", tmp_path)]


@pytest.fixture
def registry(roots) -> BackboneRegistry:
    return BackboneRegistry(roots, CPU)


def room_for(count: float) -> int:
    """Bytes for that many of these backbones."""
    return int(count * tiny.backbone(classes=2, blocks=1).memory_bytes)


def test_the_least_recently_used_leaves_when_memory_is_short(roots):
    registry = BackboneRegistry(roots, CPU, memory_bytes=room_for(2.5))
    a, b = registry.get("mine/a"), registry.get("mine/b")
    assert registry.get("mine/a") is a
    c = registry.get("mine/c")
    assert (registry.get("mine/a"), registry.get("mine/c")) == (a, c)
    assert registry.get("mine/b") is not b


def test_with_memory_for_all_of_them_all_stay(registry):
    first = [registry.get(f"mine/{name}") for name in "abc"]
    assert [registry.get(f"mine/{name}") for name in "abc"] == first


def test_one_that_is_larger_than_the_memory_loads_alone(roots):
    registry = BackboneRegistry(roots, CPU, memory_bytes=room_for(0.5))
    a = registry.get("mine/a")
    assert registry.get("mine/a") is a
    registry.get("mine/b")
    assert registry.get("mine/a") is not a


def test_a_broken_backbone_displaces_none_that_is_used(roots, tmp_path):
    registry = BackboneRegistry(roots, CPU)
    a = registry.get("mine/a")
    (tmp_path / "b" / "transformer" / "config.json").write_text("{}")
    with pytest.raises(BackboneUnavailable, match="mine/b"):
        registry.get("mine/b")
    assert registry.get("mine/a") is a


def test_the_dtype_is_that_of_the_weights_and_halves_their_memory(roots):
    one = BackboneRegistry(roots, CPU, dtype=torch.bfloat16).get("mine/a")
    assert isinstance(one, DiffusionBackbone)
    assert (one.dtype, one.latent_dtype) == (torch.bfloat16, torch.float32)
    assert one.memory_bytes < room_for(0.6)


def test_a_backbone_that_was_trained_anew_is_loaded_anew(registry, tmp_path):
    first = registry.get("mine/a")
    save(tmp_path / "a", tiny.transformer(classes=2, blocks=1, seed=1), ["cat", "dog"])
    assert registry.get("mine/a").revision != first.revision


def test_files_that_change_while_they_are_loaded_are_not_used(registry, roots):
    folder = find(roots, "mine/a")
    with pytest.raises(BackboneUnavailable, match="its files changed while they were loaded"):
        registry._load(folder, "the revision before")


@pytest.mark.parametrize("name", ["other", "a", "mine/../mine/a", "mine/", "/etc"])
def test_what_is_not_on_the_list_is_refused_naming_the_field(registry, name):
    with pytest.raises(InvalidSpec) as refused:
        registry.get(name)
    assert refused.value.problems[0].field == "backbone"


def test_auto_is_the_gpu_if_there_is_one():
    assert device_named("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert device_named("cpu") == CPU


def test_a_gpu_that_is_not_there_is_named():
    with pytest.raises(PermanentError, match=r"no device cuda:99: torch .* finds [0-9]+ GPUs"):
        device_named("cuda:99")


def test_a_dtype_is_named_and_auto_is_float32_on_a_cpu():
    assert [dtype_named(name, CPU) for name in ("float32", "bfloat16", "float16")] == [
        torch.float32,
        torch.bfloat16,
        torch.float16,
    ]
    assert dtype_named("auto", CPU) == torch.float32


@pytest.mark.gpu
def test_auto_is_bfloat16_on_a_gpu_that_has_it():
    cuda = torch.device("cuda")
    has_it = torch.cuda.get_device_capability(cuda) >= (8, 0)
    assert dtype_named("auto", cuda) == (torch.bfloat16 if has_it else torch.float32)
    assert memory_bytes_of(cuda) == torch.cuda.mem_get_info(cuda)[1]


def test_the_memory_of_a_cpu_is_the_machines():
    assert memory_bytes_of(CPU) == psutil.virtual_memory().total
