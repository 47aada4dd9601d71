import pytest
import torch

from app.domain.errors import InvalidSpec
from tests.unit.worker import tiny
from worker.backbones.registry import RESIDENT, BackboneRegistry, device_named
from worker.training.model import save

CPU = torch.device("cpu")


@pytest.fixture
def registry(tmp_path) -> BackboneRegistry:
    for name in "abc":
        save(tmp_path / name, tiny.transformer(classes=2, blocks=1), ["cat", "dog"])
    return BackboneRegistry([("mine/", tmp_path)], CPU)


def test_a_backbone_stays_in_memory_until_others_are_used(registry):
    first = registry.get("mine/a")
    assert registry.get("mine/a") is first
    for name in "bc"[:RESIDENT]:
        registry.get(f"mine/{name}")
    assert registry.get("mine/a") is not first


def test_a_backbone_that_was_trained_anew_is_loaded_anew(registry, tmp_path):
    first = registry.get("mine/a")
    save(tmp_path / "a", tiny.transformer(classes=2, blocks=1, seed=1), ["cat", "dog"])
    assert registry.get("mine/a").revision != first.revision


@pytest.mark.parametrize("name", ["other", "a", "mine/../mine/a", "mine/", "/etc"])
def test_what_is_not_on_the_list_is_refused_naming_the_field(registry, name):
    with pytest.raises(InvalidSpec) as refused:
        registry.get(name)
    assert refused.value.problems[0].field == "backbone"


def test_auto_is_the_gpu_if_there_is_one():
    assert device_named("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert device_named("cpu") == CPU
    assert device_named("cuda:1") == torch.device("cuda", 1)
