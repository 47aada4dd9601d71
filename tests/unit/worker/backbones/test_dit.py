import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from diffusers import DiTPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from app.backbones.catalog import find
from app.domain.errors import BackboneUnavailable
from tests.unit.worker import tiny
from tests.unit.worker.numbers import noise
from worker.backbones.base import Backbone
from worker.backbones.dit import DiTBackbone
from worker.training.model import save

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
CLASSES = ("cat", "dog", "eel")
T = torch.tensor(500)
LABELS = [0, 2]


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder with the backbone `pixels`, without a VAE, and `latents`, with one and a learned sigma."""
    save(tmp_path / "pixels", tiny.transformer(classes=3), CLASSES)
    save(tmp_path / "latents", tiny.transformer(channels=2, out_channels=4, classes=3), CLASSES)
    tiny.autoencoder().save_pretrained(tmp_path / "latents" / "vae")
    return tmp_path


def load(root: Path, name: str) -> DiTBackbone:
    return DiTBackbone.load(find([("", root)], name), CPU)


def predicted(one: DiTBackbone, x: Tensor, labels: Sequence[int] = LABELS, cfg_scale: float = 1.0) -> Tensor:
    return one.denoise(x, T, one.conditions(labels), cfg_scale, ()).prediction


def test_an_adapter_keeps_the_contract():
    assert isinstance(tiny.backbone(), Backbone)


def test_what_was_saved_is_loaded(root):
    loaded, x = load(root, "pixels"), noise(2, 1, 8, 8)
    assert (loaded.latent_shape, loaded.info.image_size, loaded.info.channels) == ((1, 8, 8), 8, 1)
    assert (loaded.info.labels, loaded.info.label_count) == ({"cat": 0, "dog": 1, "eel": 2}, 3)
    assert torch.equal(predicted(loaded, x), predicted(tiny.backbone(classes=3), x))


def test_the_facts_that_the_folder_states_are_those_of_the_model(root):
    for name in ("pixels", "latents"):
        folder, loaded = find([("", root)], name), load(root, name)
        images = loaded.decode(noise(1, *loaded.latent_shape))
        assert images.shape == (1, folder.info.channels, folder.info.image_size, folder.info.image_size)
        assert folder.info.learned_variance == (
            predicted(loaded, noise(2, *loaded.latent_shape)).shape[1] > loaded.latent_shape[0]
        )
        assert len(loaded.hidden(noise(2, *loaded.latent_shape), T, loaded.conditions(LABELS), (1, 2, 3))) == 3
        assert loaded.info == folder.info
        assert loaded.revision == folder.revision()


def test_latents_without_a_vae_are_the_pixels_and_decoding_clamps_them(root):
    loaded, x = load(root, "pixels"), 2 * noise(2, 1, 8, 8)
    assert loaded.encode(x) is x
    assert torch.equal(loaded.decode(x), x.clamp(-1, 1))


def test_with_a_vae_images_are_larger_than_latents_and_in_colour(root):
    loaded = load(root, "latents")
    assert (loaded.latent_shape, loaded.info.image_size, loaded.info.channels) == ((2, 8, 8), 16, 3)


def test_a_vae_scales_latents_when_encoding_and_back_when_decoding(root):
    loaded, vae, images = load(root, "latents"), tiny.autoencoder(), noise(2, 3, 16, 16).clamp(-1, 1)
    with torch.no_grad():
        latents = vae.encode(images).latent_dist.mode() * 0.18215
        decoded = vae.decode(latents / 0.18215).sample.clamp(-1, 1)
    assert torch.allclose(loaded.encode(images), latents, atol=1e-6)
    assert torch.allclose(loaded.decode(latents), decoded, atol=1e-6)


def test_diffusers_opens_a_saved_folder(root):
    pipeline = DiTPipeline.from_pretrained(root / "pixels", vae=None)
    assert pipeline.get_label_ids(["dog"]) == [1]
    assert pipeline.transformer.config.num_embeds_ada_norm == 3


def test_a_learned_variance_stays_behind_the_noise_and_is_that_of_the_condition():
    model, x = tiny.transformer(channels=2, out_channels=4), noise(2, 2, 8, 8)
    one = tiny.backbone(model=model)
    given, null = (model(x, timestep=T.expand(2), class_labels=torch.tensor(labels)).sample for labels in (LABELS, [10, 10]))
    guided = predicted(one, x, cfg_scale=2.5)
    assert one.info.learned_variance
    assert torch.allclose(guided[:, :2], null[:, :2] + 2.5 * (given - null)[:, :2], atol=1e-6)
    assert torch.allclose(guided[:, 2:], given[:, 2:], atol=1e-6)


def test_classifier_free_guidance_moves_away_from_the_null_label():
    one, x = tiny.backbone(classes=3), noise(2, 1, 8, 8)
    conditional, unconditional, guided = predicted(one, x), predicted(one, x, [3, 3]), predicted(one, x, cfg_scale=2.5)
    assert torch.allclose(guided, unconditional + 2.5 * (conditional - unconditional), atol=1e-6)
    assert not torch.allclose(guided, conditional)


def test_conditions_can_be_repeated_and_cut():
    twice = tiny.backbone(classes=3).conditions([0, 2]).repeat(2)
    assert (len(twice), twice.given[0].tolist(), twice.null[0].tolist()) == (4, [0, 0, 2, 2], [3] * 4)
    assert twice[1:3].given[0].tolist() == [0, 2]


def remove_weights(folder: Path) -> None:
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").unlink()


def truncate_weights(folder: Path) -> None:
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def lose_a_tensor(folder: Path) -> None:
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    del tensors["proj_out_2.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})


def change_a_shape(folder: Path) -> None:
    config = folder / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"attention_head_dim": 4}))


def garble_the_config(folder: Path) -> None:
    (folder / "transformer" / "config.json").write_text("{")


def remove_the_scheduler(folder: Path) -> None:
    shutil.rmtree(folder / "scheduler")


def garble_the_scheduler(folder: Path) -> None:
    (folder / "scheduler" / "scheduler_config.json").write_text("[")


def unknown_schedule(folder: Path) -> None:
    (folder / "scheduler" / "scheduler_config.json").write_text('{"beta_schedule": "made-up"}')


def lose_the_vaes_weights(folder: Path) -> None:
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()


def keep_only_pickled_weights(folder: Path) -> None:
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), folder / "vae" / "diffusion_pytorch_model.bin")
    weights.unlink()


BROKEN = [
    remove_weights,
    truncate_weights,
    lose_a_tensor,
    change_a_shape,
    garble_the_config,
    remove_the_scheduler,
    garble_the_scheduler,
    unknown_schedule,
    lose_the_vaes_weights,
    keep_only_pickled_weights,
]


@pytest.mark.parametrize("breaking", BROKEN, ids=lambda breaking: breaking.__name__)
def test_a_broken_folder_is_unavailable_and_named(root, breaking):
    breaking(root / "latents")
    with pytest.raises(BackboneUnavailable, match="latents"):
        load(root, "latents")


def test_pickled_weights_are_never_read(root):
    weights = root / "pixels" / "transformer" / "diffusion_pytorch_model.safetensors"
    folder = find([("", root)], "pixels")
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(BackboneUnavailable, match="pixels"):
        DiTBackbone.load(folder, CPU)


def test_loading_leaves_the_global_generator_as_it_was(root):
    state = torch.random.get_rng_state()
    load(root, "latents")
    assert torch.equal(torch.random.get_rng_state(), state)
