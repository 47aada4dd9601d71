"""The adapters of both kinds of Stable Diffusion, against diffusers' own pipelines: same generators, same latents."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
)
from safetensors.torch import load_file, save_file
from torch import Tensor

from app.backbones.catalog import BackboneFolder, find
from app.domain.errors import BackboneUnavailable, InvalidSpec
from app.domain.spec.sampling import Sampling, Scheduler
from tests.unit.worker import tiny, tiny_text
from tests.unit.worker.numbers import noise
from worker.backbones.base import Backbone
from worker.backbones.registry import ADAPTERS

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
T = torch.tensor(500)
PROMPTS = ["a photo of a cat", "a photo of a dog", "a photo of a cat"]
SCHEDULERS = {
    Scheduler.DDPM: DDPMScheduler,
    Scheduler.DDIM: DDIMScheduler,
    Scheduler.DPM_SOLVER_PP: DPMSolverMultistepScheduler,
}


def latents_of(pipeline: Any, cfg_scale: float, negative: str | None) -> Tensor:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        PROMPTS,
        num_inference_steps=6,
        guidance_scale=cfg_scale,
        negative_prompt=None if negative is None else [negative] * len(PROMPTS),
        generator=tiny.generators(len(PROMPTS)),
        output_type="latent",
    ).images


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(("cfg_scale", "negative"), [(1.0, None), (4.0, None), (4.0, "blurry")])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_latents_are_those_of_the_pipeline(scheduler, cfg_scale, negative, prediction_type):
    pipeline = StableDiffusionPipeline(
        vae=tiny_text.autoencoder(),
        text_encoder=tiny_text.clip(),
        tokenizer=tiny_text.tokenizer(),
        unet=tiny_text.unet(),
        scheduler=SCHEDULERS[scheduler].from_config(tiny_text.SD_SCHEDULE | {"prediction_type": prediction_type}),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    theirs = latents_of(pipeline, cfg_scale, negative)
    one = tiny_text.stable_diffusion(prediction_type=prediction_type)
    ours = tiny.unguided(one, one.conditions(PROMPTS, negative), Sampling(scheduler=scheduler, cfg_scale=cfg_scale, steps=6))
    assert ours.std() > 0.1
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.parametrize("schedule", [{}, {"shift": 1.0}, {"use_dynamic_shifting": True}], ids=["shift", "straight", "dynamic"])
@pytest.mark.parametrize(("cfg_scale", "negative"), [(1.0, None), (4.0, None), (4.0, "blurry")])
@pytest.mark.parametrize("with_t5", [False, True])
def test_the_latents_are_those_of_the_third_pipeline(with_t5, cfg_scale, negative, schedule):
    pipeline = StableDiffusion3Pipeline(
        transformer=tiny_text.sd3_transformer(),
        scheduler=FlowMatchEulerDiscreteScheduler.from_config(tiny_text.FLOW_SCHEDULE | schedule),
        vae=tiny_text.autoencoder(shift_factor=0.1),
        text_encoder=tiny_text.clip(projected=True),
        tokenizer=tiny_text.tokenizer(),
        text_encoder_2=tiny_text.clip(projected=True, seed=1),
        tokenizer_2=tiny_text.tokenizer(),
        text_encoder_3=tiny_text.t5() if with_t5 else None,
        tokenizer_3=tiny_text.t5_tokenizer() if with_t5 else None,
    )
    theirs = latents_of(pipeline, cfg_scale, negative)
    one = tiny_text.stable_diffusion_3(with_t5=with_t5, **schedule)
    ours = tiny.unguided(one, one.conditions(PROMPTS, negative), Sampling(cfg_scale=cfg_scale, steps=6))
    assert ours.std() > 0.1
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def save_without_t5(folder: Path) -> None:
    tiny_text.save_stable_diffusion_3(folder, with_t5=False)


FAMILIES: dict[str, tuple[Callable[[Path], None], Callable[[], Backbone]]] = {
    "1": (tiny_text.save_stable_diffusion, tiny_text.stable_diffusion),
    "3": (tiny_text.save_stable_diffusion_3, tiny_text.stable_diffusion_3),
    "3-without-t5": (save_without_t5, lambda: tiny_text.stable_diffusion_3(with_t5=False)),
}
every_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """One folder of each family, to be read only."""
    root = tmp_path_factory.mktemp("saved")
    for family, (save, _) in FAMILIES.items():
        save(root / family)
    return root


def load(folder: BackboneFolder, dtype: torch.dtype = torch.float32) -> Any:
    return ADAPTERS[folder.info.family].load(folder, CPU, dtype=dtype)


@every_family
def test_what_was_saved_is_loaded(saved, family):
    loaded, built = load(find([("", saved)], family)), FAMILIES[family][1]()
    x = noise(3, 4, 8, 8)
    ours, theirs = (one.denoise(x, T, one.conditions(PROMPTS, "blurry"), 3.0, (1, 2)) for one in (loaded, built))
    assert torch.equal(ours.prediction, theirs.prediction)
    assert all(map(torch.equal, ours.hidden, theirs.hidden))


@every_family
def test_the_facts_that_the_folder_states_are_those_of_the_model(saved, family):
    folder = find([("", saved)], family)
    loaded = load(folder)
    x = noise(1, *loaded.latent_shape)
    assert isinstance(loaded, Backbone)
    assert loaded.decode(x).shape == (1, folder.info.channels, folder.info.image_size, folder.info.image_size)
    assert len(loaded.hidden(x, T, loaded.conditions(["a cat"]), (1, 2, 3))) == len(folder.info.block_names)
    assert loaded.info == folder.info
    assert (loaded.revision, loaded.latent_shape) == (folder.revision(), (4, 8, 8))


@every_family
def test_in_half_precision_only_the_vae_stays_float32(saved, family):
    loaded = load(find([("", saved)], family), torch.bfloat16)
    dtypes = [next(part.parameters()).dtype for part in loaded._parts()]
    assert dtypes.pop(1) == torch.float32
    assert set(dtypes) == {torch.bfloat16}
    latents = tiny.unguided(loaded, loaded.conditions(PROMPTS), Sampling(cfg_scale=3, steps=4))
    assert latents.dtype == loaded.decode(latents).dtype == loaded.encode(noise(1, 3, 16, 16)).dtype == torch.float32
    assert loaded.decode(latents).isfinite().all()


@every_family
def test_loading_leaves_the_global_generator_as_it_was(saved, family):
    state = torch.random.get_rng_state()
    load(find([("", saved)], family))
    assert torch.equal(torch.random.get_rng_state(), state)


@every_family
def test_each_prompt_has_its_row_whichever_stand_beside_it(family):
    one = FAMILIES[family][1]()
    together, alone = one.conditions(PROMPTS, "blurry"), one.conditions(PROMPTS[1:2])
    assert len(together) == 3
    for encoded, single in zip(together.given, alone.given, strict=True):
        assert torch.allclose(encoded[1:2], single, atol=1e-6)
        assert torch.equal(encoded[0], encoded[2])
        assert not torch.allclose(encoded[0], encoded[1])
    assert all(torch.equal(null[0], null[2]) for null in together.null)
    assert not torch.allclose(together.null[0], one.conditions(PROMPTS).null[0])


@every_family
def test_conditions_record_nothing(family):
    conditions = FAMILIES[family][1]().conditions(PROMPTS)
    assert not any(one.requires_grad for one in (*conditions.given, *conditions.null))


def test_a_vae_shifts_and_scales_latents_when_encoding_and_back_when_decoding():
    one, vae, images = tiny_text.stable_diffusion_3(), tiny_text.autoencoder(shift_factor=0.1), noise(2, 3, 16, 16).clamp(-1, 1)
    with torch.no_grad():
        latents = (vae.encode(images).latent_dist.mode() - 0.1) * 0.5
        decoded = vae.decode(latents / 0.5 + 0.1).sample.clamp(-1, 1)
    assert torch.allclose(one.encode(images), latents, atol=1e-6)
    assert torch.allclose(one.decode(latents), decoded, atol=1e-6)


def test_an_old_schedule_is_mended_as_the_pipeline_does():
    scheduler = tiny_text.stable_diffusion(clip_sample=True, steps_offset=0).stepper(Sampling()).scheduler
    assert (scheduler.config.clip_sample, scheduler.config.steps_offset) == (False, 1)


def test_a_vocabulary_may_lie_in_two_files_as_in_the_first_folders(saved, tmp_path):
    shutil.copytree(saved / "1", tmp_path / "old")
    tokenizer = tmp_path / "old" / "tokenizer"
    model = json.loads((tokenizer / "tokenizer.json").read_text())["model"]
    (tokenizer / "vocab.json").write_text(json.dumps(model["vocab"]))
    (tokenizer / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(merge) for merge in model["merges"]), ""]))
    (tokenizer / "tokenizer.json").unlink()
    old, new = load(find([("", tmp_path)], "old")), tiny_text.stable_diffusion()
    assert torch.equal(old.conditions(PROMPTS).given[0], new.conditions(PROMPTS).given[0])


def remove(*names: str) -> Callable[[Path], None]:
    def breaking(part: Path) -> None:
        for name in names:
            (part / name).unlink()

    return breaking


def truncate(part: Path) -> None:
    weights = next(part.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])


def lose_a_tensor(part: Path) -> None:
    weights = next(part.glob("*.safetensors"))
    tensors = load_file(weights)
    del tensors[max(tensors)]
    save_file(tensors, weights, metadata={"format": "pt"})


def keep_only_pickled_weights(part: Path) -> None:
    weights = next(part.glob("*.safetensors"))
    torch.save(load_file(weights), part / "pytorch_model.bin")
    weights.unlink()


def garble(name: str) -> Callable[[Path], None]:
    def breaking(part: Path) -> None:
        (part / name).write_text("{")

    return breaking


def forget_merges(part: Path) -> None:
    (part / "tokenizer.json").unlink()
    (part / "vocab.json").write_text("{}")


def shrink_the_vocabulary(part: Path) -> None:
    config = json.loads((part / "config.json").read_text())
    (part / "config.json").write_text(json.dumps(config | {"vocab_size": 20}))


def ask_for(**config: Any) -> Callable[[Path], None]:
    def breaking(part: Path) -> None:
        (part / "config.json").write_text(json.dumps(json.loads((part / "config.json").read_text()) | config))

    return breaking


BROKEN = [
    ("1", "unet", ask_for(quantization_config={"quant_method": "bitsandbytes"})),
    ("1", "unet", ask_for(act_fn="nonsense")),
    ("1", "text_encoder", ask_for(quantization_config={"quant_method": "bitsandbytes"})),
    ("1", "text_encoder", ask_for(hidden_act="nonsense")),
    ("1", "unet", truncate),
    ("1", "unet", lose_a_tensor),
    ("1", "unet", garble("config.json")),
    ("1", "vae", lose_a_tensor),
    ("1", "vae", keep_only_pickled_weights),
    ("1", "text_encoder", truncate),
    ("1", "text_encoder", lose_a_tensor),
    ("1", "text_encoder", keep_only_pickled_weights),
    ("1", "text_encoder", remove("config.json")),
    ("1", "text_encoder", garble("config.json")),
    ("1", "text_encoder", shrink_the_vocabulary),
    ("1", "tokenizer", forget_merges),
    ("1", "tokenizer", garble("tokenizer.json")),
    ("1", "tokenizer", remove("tokenizer_config.json")),
    ("1", "scheduler", garble("scheduler_config.json")),
    ("3", "transformer", lose_a_tensor),
    ("3", "text_encoder_2", lose_a_tensor),
    ("3", "text_encoder_3", lose_a_tensor),
    ("3", "text_encoder_3", keep_only_pickled_weights),
    ("3", "text_encoder_3", remove("config.json")),
    ("3", "tokenizer_3", garble("tokenizer.json")),
]


@pytest.mark.parametrize(
    ("family", "part", "breaking"),
    BROKEN,
    ids=[f"{number}-{family}-{part}-{breaking.__qualname__}" for number, (family, part, breaking) in enumerate(BROKEN)],
)
def test_a_broken_folder_is_unavailable_and_its_part_named(saved, tmp_path, family, part, breaking):
    shutil.copytree(saved / family, tmp_path / "broken")
    folder = find([("", tmp_path)], "broken")
    breaking(tmp_path / "broken" / part)
    with pytest.raises(BackboneUnavailable, match=rf"broken.*{part}"):
        load(folder)


@pytest.mark.parametrize("field", ["attn_implementation", "_attn_implementation"])
def test_attention_from_elsewhere_that_a_folder_asks_for_is_not_fetched(saved, tmp_path, field):
    shutil.copytree(saved / "1", tmp_path / "asking")
    ask_for(**{field: "somebody/attention"})(tmp_path / "asking" / "text_encoder")
    asking, plain = load(find([("", tmp_path)], "asking")), load(find([("", saved)], "1"))
    assert torch.equal(asking.conditions(PROMPTS).given[0], plain.conditions(PROMPTS).given[0])


@pytest.mark.parametrize("family", ["1", "3-without-t5"])
@pytest.mark.parametrize(
    ("given", "negative", "field"), [("cat " * 50, None, "prompt"), ("cat", "dog " * 50, "negative_prompt")]
)
def test_a_prompt_that_would_lose_its_end_is_refused(family, given, negative, field):
    with pytest.raises(InvalidSpec, match="tokens too long") as refused:
        FAMILIES[family][1]().conditions([given], negative)
    assert refused.value.problems[0].field == f"sampling.{field}"


def test_a_prompt_may_be_as_long_as_the_longest_text_encoder_takes():
    assert len(tiny_text.stable_diffusion_3().conditions(["cat " * 50])) == 1
