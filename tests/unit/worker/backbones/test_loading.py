"""Which files are loaded: those that were hashed, under whatever name they lie, and no others."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel, UNet2DConditionModel

from app.backbones.catalog import find
from app.domain.errors import BackboneRejected, BackboneUnavailable
from tests.unit.worker import tiny, tiny_text
from tests.unit.worker.numbers import noise
from worker.backbones.dit import DiTBackbone
from worker.backbones.registry import BackboneRegistry
from worker.backbones.stable_diffusion import StableDiffusionBackbone

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
T = torch.tensor(500)
STEM = "diffusion_pytorch_model"
WEIGHTS = (("unet", STEM), ("vae", STEM), ("text_encoder", "model"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    tiny_text.save_stable_diffusion(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return shutil.copytree(saved, tmp_path / "sd")


def predicted(folder: Path) -> torch.Tensor:
    """Through all parts but the VAE, which decodes the prediction."""
    one = StableDiffusionBackbone.load(find([("", folder.parent)], folder.name), CPU)
    x = noise(1, 4, 8, 8)
    return one.decode(one.denoise(x, T, one.conditions(["a photo of a cat"]), 3.0, ()).prediction)


def test_a_variant_is_loaded_where_it_is_all_there_is(folder):
    expected = predicted(folder)
    for part, stem in WEIGHTS:
        (folder / part / f"{stem}.safetensors").rename(folder / part / f"{stem}.fp16.safetensors")
    assert torch.equal(predicted(folder), expected)


def test_shards_are_loaded_and_an_old_index_beside_a_whole_file_is_not(folder):
    expected = predicted(folder)
    whole = folder / "unet" / f"{STEM}.safetensors"
    kept = whole.read_bytes()
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    whole.unlink()
    unet.save_pretrained(folder / "unet", max_shard_size="40KB")
    assert torch.equal(predicted(folder), expected)
    sorted((folder / "unet").glob("*-of-*.safetensors"))[-1].unlink()
    with pytest.raises(BackboneUnavailable, match=r"unet: .*index\.json names .*, which is not there"):
        predicted(folder)
    whole.write_bytes(kept)
    assert torch.equal(predicted(folder), expected)


def test_a_part_that_is_a_link_is_loaded_anew_when_its_target_is_replaced(folder, tmp_path):
    shared = tmp_path / "shared"
    (folder / "vae").rename(shared)
    (folder / "vae").symlink_to(shared)
    registry = BackboneRegistry([("", tmp_path)], CPU)
    first = registry.get("sd")
    assert registry.get("sd") is first
    weights = shared / f"{STEM}.safetensors"
    times = weights.stat().st_mtime_ns
    tiny_text.autoencoder(seed=1).save_pretrained(tmp_path / "other")
    shutil.copy(tmp_path / "other" / weights.name, weights)
    os.utime(weights, ns=(times, times))
    second = registry.get("sd")
    assert second.revision != first.revision
    assert not torch.allclose(second.decode(noise(1, 4, 8, 8)), first.decode(noise(1, 4, 8, 8)))


def test_weights_that_are_overwritten_in_place_do_not_change_a_loaded_model(folder):
    one = StableDiffusionBackbone.load(find([("", folder.parent)], folder.name), CPU)
    before = one.conditions(["a cat"]).given[0]
    for part, stem in WEIGHTS:
        weights = folder / part / f"{stem}.safetensors"
        size = weights.stat().st_size
        with weights.open("r+b") as stream:
            stream.write(b"\xff" * size)
    assert torch.equal(one.conditions(["a cat"]).given[0], before)


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("unet", "block_out_channels", [8192, 16384]),
        ("text_encoder", "hidden_size", 8192),
        ("vae", "block_out_channels", [4096, 4096]),
    ],
)
def test_a_model_far_larger_than_its_weights_is_refused_before_it_is_made(folder, part, field, value):
    found = find([("", folder.parent)], folder.name)
    config = folder / part / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {field: value}))
    with pytest.raises(BackboneRejected, match=rf"{part}: config\.json describes a model of [0-9,]+ numbers"):
        StableDiffusionBackbone.load(found, CPU)


def test_a_pipeline_saved_by_diffusers_is_drawn_by_the_numbers_of_its_labels(tmp_path):
    """`DiTPipeline.save_pretrained` writes no id2label."""
    given = tiny.transformer(channels=4, classes=3)
    pipeline = DiTPipeline(
        given, tiny_text.autoencoder(), DDIMScheduler(**tiny.LINEAR), id2label={"0": "a", "1": "b", "2": "c"}
    )
    pipeline.save_pretrained(tmp_path / "resaved")
    found = find([("", tmp_path)], "resaved")
    assert (found.info.labels.shown, found.info.label_count, found.info.image_size) == ((), 3, 16)
    loaded = DiTBackbone.load(found, CPU)
    x = noise(2, 4, 8, 8)
    prediction = loaded.denoise(x, T, loaded.conditions([0, 2]), 1.0, ()).prediction
    assert torch.equal(prediction, given(x, timestep=T.expand(2), class_labels=torch.tensor([0, 2])).sample)


def test_a_published_layout_of_dit_is_read(tmp_path):
    """As facebook/DiT-XL-2-256: the transformer's old name, fields of other models that are null, a learned variance."""
    given = tiny.transformer(channels=4, out_channels=8, classes=3)
    given.save_pretrained(tmp_path / "dit" / "transformer")
    config = tmp_path / "dit" / "transformer" / "config.json"
    others = {
        "_class_name": "Transformer2DModel",
        "cross_attention_dim": None,
        "num_vector_embeds": None,
    }
    config.write_text(json.dumps(json.loads(config.read_text()) | others))
    tiny_text.autoencoder().save_pretrained(tmp_path / "dit" / "vae")
    DDIMScheduler(**tiny.LINEAR, set_alpha_to_one=True).save_pretrained(tmp_path / "dit" / "scheduler")
    labels = {"0": "tench, Tinca tinca", "1": "goldfish, Carassius auratus", "2": "great white shark"}
    index = {"_class_name": "DiTPipeline", "_diffusers_version": "0.12.0.dev0", "id2label": labels}
    (tmp_path / "dit" / "model_index.json").write_text(json.dumps(index))
    loaded = DiTBackbone.load(find([("", tmp_path)], "dit"), CPU)
    assert (loaded.info.labels["Carassius auratus"], loaded.info.learned_variance) == (1, True)
    assert isinstance(loaded._model, DiTTransformer2DModel)
    assert isinstance(loaded._vae and loaded._vae.modules[0], AutoencoderKL)
