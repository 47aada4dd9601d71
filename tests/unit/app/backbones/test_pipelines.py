import json
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

from app.backbones.part_reader import CONFIG_BYTES
from app.backbones.pipelines import read
from app.domain.errors import BackboneRejected, BackboneUnavailable
from tests.unit.app.stored import (
    WEIGHTS,
    safetensors,
    write_backbone,
    write_component,
    write_json,
    write_stable_diffusion,
    write_stable_diffusion_3,
)


def rejected(folder: Path) -> str:
    """The text of a refusal that will not pass by itself."""
    with pytest.raises(BackboneRejected) as caught:
        read("broken", folder)
    return str(caught.value)


def refused(folder: Path) -> str:
    with pytest.raises(BackboneUnavailable) as caught:
        read("broken", folder)
    assert str(caught.value).startswith("backbone broken: ")
    return str(caught.value)


def test_a_unet_is_tapped_on_its_way_down_and_in_its_middle(tmp_path: Path) -> None:
    write_stable_diffusion(tmp_path)
    found = read("sd", tmp_path)
    assert (found.info.family, found.info.block_names) == ("stable-diffusion", ("down_blocks.0", "down_blocks.1", "mid_block"))
    assert (found.info.image_size, found.info.channels, found.weights_bytes) == (16, 3, 3 * len(WEIGHTS))
    assert (found.info.prompted, found.info.flow, found.info.learned_variance, found.info.wordnet) == (
        True,
        False,
        False,
        False,
    )
    assert (found.info.labels.shown, dict(found.info.labels), found.info.label_count) == ((), {}, 0)


def test_a_unet_may_have_no_middle(tmp_path: Path) -> None:
    write_stable_diffusion(tmp_path, mid_block_type=None)
    assert read("sd", tmp_path).info.block_names == ("down_blocks.0", "down_blocks.1")


@pytest.mark.parametrize("third", [True, False])
def test_a_flow_transformer_is_tapped_in_its_blocks_with_or_without_its_third_encoder(tmp_path: Path, third: bool) -> None:
    write_stable_diffusion_3(tmp_path, third=third)
    found = read("sd3", tmp_path)
    assert (found.info.family, found.info.block_names) == (
        "stable-diffusion-3",
        tuple(f"transformer_blocks.{block}" for block in range(3)),
    )
    assert (found.info.image_size, found.info.channels, found.info.prompted, found.info.flow) == (16, 3, True, True)


@pytest.mark.parametrize("write", [write_stable_diffusion, write_stable_diffusion_3])
@pytest.mark.parametrize("part", ["vae", "scheduler", "text_encoder", "tokenizer"])
def test_a_missing_part_is_named(tmp_path: Path, write: Callable[[Path], None], part: str) -> None:
    write(tmp_path)
    rmtree(tmp_path / part)
    assert str(tmp_path / part) in refused(tmp_path)


@pytest.mark.parametrize("part", ["text_encoder_2", "tokenizer_2", "tokenizer_3"])
def test_a_missing_text_encoder_or_its_tokenizer_is_named(tmp_path: Path, part: str) -> None:
    write_stable_diffusion_3(tmp_path)
    rmtree(tmp_path / part)
    assert str(tmp_path / part) in refused(tmp_path)


PARTS = pytest.mark.parametrize(
    ("part", "stem"), [("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model"), ("text_encoder", "model")]
)


@PARTS
def test_a_part_without_the_weights_that_its_library_loads_is_named(tmp_path: Path, part: str, stem: str) -> None:
    write_stable_diffusion(tmp_path)
    (tmp_path / part / f"{stem}.safetensors").unlink()
    assert refused(tmp_path).endswith(f"{tmp_path / part}: there is no {stem}.safetensors")


@PARTS
def test_weights_of_another_format_are_named_with_the_way_to_convert_them(tmp_path: Path, part: str, stem: str) -> None:
    write_stable_diffusion(tmp_path)
    (tmp_path / part / f"{stem}.safetensors").rename(tmp_path / part / f"{stem}.bin")
    told = rejected(tmp_path)
    assert f"{tmp_path / part}: there is no {stem}.safetensors, but {stem}.bin" in told
    assert f"StableDiffusionPipeline.from_pretrained('{tmp_path}', use_safetensors=False).save_pretrained(" in told


@PARTS
def test_where_only_a_variant_is_there_it_is_loaded_under_the_plain_name(tmp_path: Path, part: str, stem: str) -> None:
    write_stable_diffusion(tmp_path)
    before = read("sd", tmp_path)
    revision = before.revision()
    variant = tmp_path / part / f"{stem}.fp16.safetensors"
    (tmp_path / part / f"{stem}.safetensors").rename(variant)
    found = read("sd", tmp_path)
    assert found.files_of(part)[f"{stem}.safetensors"] == variant
    assert (found.weights_bytes, found.revision()) == (before.weights_bytes, revision)


def test_what_is_not_loaded_is_neither_hashed_nor_counted(tmp_path: Path) -> None:
    write_stable_diffusion(tmp_path)
    before = read("sd", tmp_path)
    revision = before.revision()
    for name in ("v1-5-pruned.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors", "unet/old/model.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"other weights")
    write_component(tmp_path / "safety_checker", weights="model")
    after = read("sd", tmp_path)
    assert (after.files, after.weights_bytes, after.revision()) == (before.files, before.weights_bytes, revision)


def test_a_part_that_is_a_link_is_hashed_and_counted(tmp_path: Path) -> None:
    write_stable_diffusion(tmp_path / "sd")
    before = read("sd", tmp_path / "sd")
    revision = before.revision()
    (tmp_path / "sd" / "vae").rename(tmp_path / "shared")
    (tmp_path / "sd" / "vae").symlink_to(tmp_path / "shared")
    linked = read("sd", tmp_path / "sd")
    assert (linked.weights_bytes, linked.revision()) == (before.weights_bytes, revision)
    (tmp_path / "shared" / "diffusion_pytorch_model.safetensors").write_bytes(safetensors(b"WEIGHTS"))
    assert read("sd", tmp_path / "sd").revision() != revision


def test_a_vocabulary_is_whole(tmp_path: Path) -> None:
    write_stable_diffusion(tmp_path)
    (tmp_path / "tokenizer" / "merges.txt").unlink()
    assert refused(tmp_path).endswith("there is neither tokenizer.json nor vocab.json with merges.txt")


def test_what_a_class_conditional_transformer_predicts_must_be_known(tmp_path: Path) -> None:
    write_backbone(tmp_path)
    write_json(tmp_path / "scheduler" / "scheduler_config.json", prediction_type="sample")
    assert "scheduler_config.json: prediction_type" in refused(tmp_path)
    rmtree(tmp_path / "scheduler")
    assert "scheduler_config.json" in refused(tmp_path)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"sample_size": None}, "sample_size"),
        ({"cross_attention_dim": [32, 32]}, "cross_attention_dim"),
        ({"down_block_types": []}, "down_block_types"),
        ({"num_class_embeds": 10}, "num_class_embeds"),
        ({"addition_embed_type": "text_time"}, "addition_embed_type"),
        ({"class_embed_type": "projection"}, "class_embed_type"),
        ({"encoder_hid_dim": 64}, "encoder_hid_dim"),
        ({"encoder_hid_dim_type": "ip_image_proj"}, "encoder_hid_dim_type"),
        ({"time_cond_proj_dim": 256}, "time_cond_proj_dim"),
        ({"attention_type": "gated"}, "attention_type"),
        ({"out_channels": 8}, "out_channels"),
        ({"_class_name": "UNetMotionModel"}, "_class_name"),
    ],
)
def test_a_unet_of_another_kind_is_refused_naming_the_field(tmp_path: Path, fields: dict[str, object], named: str) -> None:
    write_stable_diffusion(tmp_path, **fields)
    assert f"unet/config.json: {named}: " in rejected(tmp_path)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"sample_size": 2_000_000}, "sample_size"),
        ({"sample_size": 1025}, "sample_size"),
        ({"sample_size": "8"}, "sample_size"),
        ({"sample_size": 8.5}, "sample_size"),
        ({"sample_size": True}, "sample_size"),
        ({"in_channels": 10**30}, "in_channels"),
        ({"block_out_channels": [32, 10**6]}, "block_out_channels.1"),
        ({"layers_per_block": 10_000}, "layers_per_block"),
        ({"attention_head_dim": [4, 10**6]}, "attention_head_dim"),
        ({"cross_attention_dim": 10**6}, "cross_attention_dim"),
        ({"down_block_types": ["DownBlock2D"] * 17}, "down_block_types"),
        ({"some_field": {"of": ["its library", 1e12]}}, "some_field.of"),
        ({"norm_eps": float("inf")}, "norm_eps"),
    ],
)
def test_a_number_without_measure_is_refused_naming_the_field(tmp_path: Path, fields: dict[str, object], named: str) -> None:
    write_stable_diffusion(tmp_path, **fields)
    assert f"unet/config.json: {named}" in rejected(tmp_path)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"num_layers": 257}, "num_layers"),
        ({"num_attention_heads": 1000}, "num_attention_heads"),
        ({"attention_head_dim": 10**5}, "attention_head_dim"),
        ({"num_embeds_ada_norm": 10**6}, "num_embeds_ada_norm"),
        ({"sample_size": 1024}, "sample_size"),
        ({"patch_size": 3}, "patch_size"),
        ({"in_channels": 4}, "in_channels"),
        ({"out_channels": 3}, "out_channels"),
        ({"norm_type": "ada_norm_single"}, "norm_type"),
        ({"caption_channels": 4096}, "caption_channels"),
        ({"_class_name": "PixArtTransformer2DModel"}, "_class_name"),
    ],
)
def test_a_transformer_of_another_kind_or_measure_is_refused(tmp_path: Path, fields: dict[str, Any], named: str) -> None:
    write_backbone(tmp_path, **fields)
    assert f"transformer/config.json: {named}: " in rejected(tmp_path)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"_class_name": "AutoencoderTiny"}, "_class_name"),
        ({"_class_name": "AutoencoderDC"}, "_class_name"),
        ({"scaling_factor": None}, "scaling_factor"),
        ({"scaling_factor": 0}, "scaling_factor"),
        ({"latents_mean": [0.1] * 4}, "latents_mean"),
        ({"latents_std": [0.1] * 4}, "latents_std"),
        ({"in_channels": 1}, "in_channels"),
        ({"out_channels": 4}, "out_channels"),
        ({"down_block_types": ["DownEncoderBlock2D"]}, "down_block_types"),
        ({"down_block_types": ["AttnDownEncoderBlock2D"] * 2}, "down_block_types.0"),
        ({"block_out_channels": [8] * 9}, "block_out_channels"),
    ],
)
def test_a_vae_of_another_kind_is_refused_naming_the_field(tmp_path: Path, fields: dict[str, Any], named: str) -> None:
    write_stable_diffusion(tmp_path)
    write_component(tmp_path / "vae", **({"block_out_channels": [32, 64], "latent_channels": 4} | fields))
    assert f"vae/config.json: {named}: " in rejected(tmp_path)


def test_a_text_encoder_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    write_stable_diffusion(tmp_path)
    write_component(tmp_path / "text_encoder", weights="model", hidden_size=64)
    assert "cross_attention_dim: it is 32, but the text encoder's hidden_size 64" in rejected(tmp_path)
    write_component(tmp_path / "text_encoder", weights="model", model_type="roberta")
    assert "text_encoder/config.json: model_type: " in rejected(tmp_path)


def test_a_configuration_of_megabytes_is_refused(tmp_path: Path) -> None:
    write_stable_diffusion(tmp_path, padding="x" * CONFIG_BYTES)
    assert "unet/config.json: it has more than 1,048,576 bytes" in rejected(tmp_path)


@pytest.mark.parametrize("content", ['{"a":' * 50 + "1" + "}" * 50, "[" * 100_000, "\xff", "[]"])
def test_a_configuration_of_no_use_is_refused(tmp_path: Path, content: str) -> None:
    write_stable_diffusion(tmp_path)
    (tmp_path / "unet" / "config.json").write_bytes(content.encode("latin-1"))
    assert "unet/config.json: " in rejected(tmp_path)


def test_a_transformer_on_pixels_beside_a_vae_is_refused_with_what_to_do(tmp_path: Path) -> None:
    write_backbone(tmp_path, in_channels=3)
    write_component(tmp_path / "vae", block_out_channels=[8], latent_channels=4)
    assert "if it works on pixels, remove vae, and set it to [null, null] in model_index.json" in rejected(tmp_path)


def test_a_vae_that_the_index_names_must_be_there(tmp_path: Path) -> None:
    write_backbone(tmp_path, in_channels=4)
    index = json.loads((tmp_path / "model_index.json").read_text())
    write_json(tmp_path / "model_index.json", **index, vae=["diffusers", "AutoencoderKL"])
    assert "vae/config.json: No such file" in refused(tmp_path)


def test_labels_without_names_are_counted_and_a_thousand_of_them_are_imagenets(tmp_path: Path) -> None:
    write_backbone(tmp_path / "few", num_embeds_ada_norm=7)
    write_backbone(tmp_path / "imagenet", num_embeds_ada_norm=1000)
    for name in ("few", "imagenet"):
        write_json(tmp_path / name / "model_index.json", _class_name="DiTPipeline")
    few, imagenet = (read(name, tmp_path / name) for name in ("few", "imagenet"))
    assert (few.info.labels.shown, few.info.label_count, few.info.wordnet) == ((), 7, False)
    assert (imagenet.info.labels.shown[217], imagenet.info.labels["English springer"], imagenet.info.wordnet) == (
        "English springer",
        217,
        True,
    )


def test_a_unet_for_inpainting_is_refused_with_the_reason(tmp_path: Path) -> None:
    write_stable_diffusion(tmp_path, in_channels=9)
    told = refused(tmp_path)
    assert "unet/config.json: in_channels: it takes 9, but the VAE's latents have 4" in told
    assert "inpainting" in told


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_unet_predicts_noise_or_velocity(tmp_path: Path, prediction: str) -> None:
    write_stable_diffusion(tmp_path)
    write_json(tmp_path / "scheduler" / "scheduler_config.json", prediction_type=prediction)
    assert read("sd", tmp_path).info.prompted
    write_json(tmp_path / "scheduler" / "scheduler_config.json", prediction_type="sample")
    assert "scheduler_config.json: prediction_type" in refused(tmp_path)


def test_a_flow_transformer_needs_a_flow_scheduler(tmp_path: Path) -> None:
    write_stable_diffusion_3(tmp_path)
    write_json(tmp_path / "scheduler" / "scheduler_config.json", _class_name="DDIMScheduler")
    assert "scheduler_config.json: _class_name" in refused(tmp_path)


def test_a_class_conditional_transformer_takes_its_vaes_latents(tmp_path: Path) -> None:
    write_backbone(tmp_path, in_channels=8)
    write_component(tmp_path / "vae", block_out_channels=[8], latent_channels=4)
    assert "in_channels" in refused(tmp_path)


@pytest.mark.parametrize("file", ["merges.txt", "vocab.json", "tokenizer.json"])
def test_the_revision_changes_with_a_vocabulary(tmp_path: Path, file: str) -> None:
    write_stable_diffusion(tmp_path)
    (tmp_path / "tokenizer" / file).write_text("a b")
    before = read("sd", tmp_path).revision()
    (tmp_path / "tokenizer" / file).write_text("a b c")
    assert read("sd", tmp_path).revision() != before
