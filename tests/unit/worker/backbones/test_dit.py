import itertools
import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler, DiTPipeline
from safetensors.torch import load_file, save_file

from app.domain.errors import BackboneUnavailable
from app.domain.spec import Scheduler
from app.storage.backbones import find
from tests.unit.worker import tiny
from tests.unit.worker.numbers import noise
from worker.backbones.base import Backbone
from worker.backbones.dit import DiTBackbone
from worker.training.model import save

CPU = torch.device("cpu")
CLASSES = ("cat", "dog", "eel")
T = torch.tensor(500)
LABELS = torch.tensor([0, 2])


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder with the backbone `pixels`, without a VAE, and `latents`, with one and a learned sigma."""
    save(tmp_path / "pixels", tiny.transformer(classes=3), CLASSES)
    save(tmp_path / "latents", tiny.transformer(channels=2, out_channels=4, classes=3), CLASSES)
    tiny.autoencoder().save_pretrained(tmp_path / "latents" / "vae")
    return tmp_path


def load(root: Path, name: str) -> DiTBackbone:
    return DiTBackbone.load(find([("", root)], name), CPU)


def test_an_adapter_keeps_the_contract():
    assert isinstance(tiny.backbone(), Backbone)


def test_what_was_saved_is_loaded(root):
    loaded, x = load(root, "pixels"), noise(2, 1, 8, 8)
    assert (loaded.latent_shape, loaded.image_size, loaded.channels, loaded.blocks) == ((1, 8, 8), 8, 1, 3)
    assert (loaded.labels, loaded.null_label) == ({"cat": 0, "dog": 1, "eel": 2}, 3)
    assert loaded.revision == find([("", root)], "pixels").revision()
    original = tiny.backbone(classes=3)
    assert torch.equal(loaded.denoise(x, T, LABELS, 1.0, None).eps, original.denoise(x, T, LABELS, 1.0, None).eps)


def test_latents_without_a_vae_are_the_pixels_and_decoding_clamps_them(root):
    loaded, x = load(root, "pixels"), 2 * noise(2, 1, 8, 8)
    assert loaded.encode(x) is x
    assert torch.equal(loaded.decode(x), x.clamp(-1, 1))


@pytest.mark.parametrize("t", [0, 500, 999])
def test_the_predicted_image_is_the_one_that_was_noised(t):
    one = tiny.backbone(schedule=tiny.LINEAR)
    x0, eps = 3 * noise(2, 1, 8, 8, dtype=torch.float64), noise(2, 1, 8, 8, seed=1, dtype=torch.float64)
    timestep = torch.tensor(t)
    assert torch.allclose(one.predicted_x0(one.add_noise(x0, eps, timestep), eps, timestep), x0)


def test_the_predicted_image_is_clamped_where_the_schedule_clips():
    x_t, eps = noise(2, 1, 8, 8), noise(2, 1, 8, 8, seed=1)
    assert tiny.backbone(schedule=tiny.COSINE).predicted_x0(x_t, eps, torch.tensor(990)).abs().max() == 1
    assert tiny.backbone(schedule=tiny.LINEAR).predicted_x0(x_t, eps, torch.tensor(990)).abs().max() > 1


@pytest.mark.parametrize("schedule", [tiny.COSINE, tiny.LINEAR], ids=["cosine", "linear"])
def test_the_posterior_standard_deviation_is_that_of_diffusers_ddpm(schedule):
    ddpm = DDPMScheduler(**schedule, variance_type="fixed_small")
    ddpm.set_timesteps(20)
    timesteps = [*ddpm.timesteps, None]
    ours = [tiny.backbone(schedule=schedule).posterior_std(t, s) ** 2 for t, s in itertools.pairwise(timesteps)]
    assert ours == pytest.approx([float(ddpm._get_variance(t)) for t in ddpm.timesteps], rel=1e-4, abs=1e-15)


def test_with_a_vae_images_are_larger_than_latents_and_in_colour(root):
    loaded = load(root, "latents")
    assert (loaded.latent_shape, loaded.image_size, loaded.channels) == ((2, 8, 8), 16, 3)


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


def test_a_learned_sigma_is_cut_off():
    model = tiny.transformer(channels=2, out_channels=4)
    x = noise(2, 2, 8, 8)
    whole = model(x, timestep=T.expand(2), class_labels=LABELS).sample
    eps = tiny.backbone(model=model).denoise(x, T, LABELS, 1.0, None).eps
    assert whole.shape[1] == 4
    assert torch.equal(eps, whole[:, :2])


def test_classifier_free_guidance_moves_away_from_the_null_label():
    one, x = tiny.backbone(classes=3), noise(2, 1, 8, 8)
    conditional, unconditional, guided = (
        one.denoise(x, T, labels, scale, None).eps
        for labels, scale in ((LABELS, 1.0), (torch.full_like(LABELS, 3), 1.0), (LABELS, 2.5))
    )
    assert torch.allclose(guided, unconditional + 2.5 * (conditional - unconditional))
    assert not torch.allclose(guided, conditional)


@pytest.mark.parametrize("tap", [1, 2, 3])
def test_features_are_the_hidden_state_after_the_tapped_block_of_the_full_pass(tap):
    model = tiny.transformer()
    one, x, seen = tiny.backbone(model=model), noise(2, 1, 8, 8), []
    model.transformer_blocks[tap - 1].register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    model(x, timestep=T.expand(2), class_labels=LABELS)
    assert torch.equal(one.features(x, T, LABELS, tap), seen[0].flatten(1))
    tapped = one.denoise(x, T, LABELS, 1.0, tap).features
    assert tapped is not None
    assert torch.equal(tapped, seen[0].flatten(1))


@pytest.mark.parametrize("tap", [1, 2, 3])
@pytest.mark.parametrize("cfg_scale", [1.0, 3.0])
def test_autograd_reaches_the_input_through_the_features_and_records_nothing_past_the_tap(cfg_scale, tap):
    model = tiny.transformer()
    one, x = tiny.backbone(model=model), noise(2, 1, 8, 8).requires_grad_()
    recorded = []
    for block in model.transformer_blocks:
        block.register_forward_hook(lambda _module, inputs, _output: recorded.append(inputs[0].requires_grad))
    denoised = one.denoise(x, T, LABELS, cfg_scale, tap)
    assert denoised.eps.grad_fn is None
    assert denoised.features is not None
    assert sum(recorded) == tap
    assert torch.autograd.grad(denoised.features.sum(), x)[0].abs().sum() > 0
    assert all(weight.grad is None and not weight.requires_grad for weight in model.parameters())


def test_tapping_changes_no_prediction_and_leaves_no_hook_behind():
    one, x = tiny.backbone(), noise(2, 1, 8, 8)
    before = one.denoise(x, T, LABELS, 1.0, None)
    tapped = one.denoise(x, T, LABELS, 1.0, 2)
    assert torch.equal(before.eps, tapped.eps)
    assert torch.equal(before.eps, one.denoise(x, T, LABELS, 1.0, None).eps)
    assert before.features is None


@pytest.mark.parametrize("schedule", [tiny.COSINE, tiny.LINEAR], ids=["cosine", "linear"])
def test_the_forward_process_is_that_of_the_schedulers(schedule):
    one, x0, eps = tiny.backbone(schedule=schedule), noise(2, 1, 8, 8), noise(2, 1, 8, 8, seed=1)
    for scheduler in (Scheduler.DDPM, Scheduler.DDIM):
        theirs = one.scheduler(scheduler, 10).add_noise(x0, eps, T.expand(2))
        assert torch.allclose(one.add_noise(x0, eps, T), theirs, atol=1e-6)


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
