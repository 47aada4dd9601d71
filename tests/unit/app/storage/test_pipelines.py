from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

import pytest

from app.domain.errors import BackboneUnavailable
from app.storage.pipelines import read
from tests.unit.app.stored import write_backbone, write_component, write_json, write_stable_diffusion, write_stable_diffusion_3


def refused(folder: Path) -> str:
    with pytest.raises(BackboneUnavailable) as caught:
        read("broken", folder)
    assert str(caught.value).startswith("backbone broken: ")
    return str(caught.value)


def test_a_unet_is_tapped_on_its_way_down_and_in_its_middle(tmp_path: Path) -> None:
    write_stable_diffusion(tmp_path)
    found = read("sd", tmp_path)
    assert (found.family, found.taps) == ("stable-diffusion", ("down_blocks.0", "down_blocks.1", "mid_block"))
    assert (found.image_size, found.channels, found.weights_bytes) == (16, 3, 3 * len(b"weights"))
    assert (found.prompted, found.flow, found.learned_variance, found.wordnet) == (True, False, False, False)
    assert (found.classes, dict(found.labels), found.label_count) == ((), {}, 0)


def test_a_unet_may_have_no_middle(tmp_path: Path) -> None:
    write_stable_diffusion(tmp_path, mid_block_type=None)
    assert read("sd", tmp_path).taps == ("down_blocks.0", "down_blocks.1")


@pytest.mark.parametrize("third", [True, False])
def test_a_flow_transformer_is_tapped_in_its_blocks_with_or_without_its_third_encoder(tmp_path: Path, third: bool) -> None:
    write_stable_diffusion_3(tmp_path, third=third)
    found = read("sd3", tmp_path)
    assert (found.family, found.taps) == ("stable-diffusion-3", tuple(f"transformer_blocks.{block}" for block in range(3)))
    assert (found.image_size, found.channels, found.prompted, found.flow) == (16, 3, True, True)


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


@pytest.mark.parametrize(
    ("part", "stem"), [("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model"), ("text_encoder", "model")]
)
def test_a_part_without_the_weights_that_its_library_loads_is_named(tmp_path: Path, part: str, stem: str) -> None:
    write_stable_diffusion(tmp_path)
    (tmp_path / part / f"{stem}.safetensors").rename(tmp_path / part / f"{stem}.fp16.safetensors")
    assert refused(tmp_path).endswith(f"{tmp_path / part}: there is no {stem}.safetensors")
    (tmp_path / part / f"{stem}.safetensors.index.json").write_text("{}")
    assert read("sd", tmp_path).weights_bytes > 0


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
    ],
)
def test_a_unet_of_another_kind_is_refused_naming_the_field(tmp_path: Path, fields: dict[str, object], named: str) -> None:
    write_stable_diffusion(tmp_path, **fields)
    assert f"unet/config.json: {named}: " in refused(tmp_path)


def test_a_unet_for_inpainting_is_refused_with_the_reason(tmp_path: Path) -> None:
    write_stable_diffusion(tmp_path, in_channels=9)
    told = refused(tmp_path)
    assert "unet/config.json: in_channels: it takes 9, but the VAE's latents have 4" in told
    assert "inpainting" in told


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_unet_predicts_noise_or_velocity(tmp_path: Path, prediction: str) -> None:
    write_stable_diffusion(tmp_path)
    write_json(tmp_path / "scheduler" / "scheduler_config.json", prediction_type=prediction)
    assert read("sd", tmp_path).prompted
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
