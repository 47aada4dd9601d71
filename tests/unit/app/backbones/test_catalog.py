import json
import os
from pathlib import Path

import pytest

from app.backbones.catalog import find, survey
from app.domain.errors import BackboneUnavailable, InvalidSpec
from tests.unit.app.stored import WEIGHTS, safetensors, write_backbone, write_component


def roots(tmp_path: Path) -> list[tuple[str, Path]]:
    return [("embedded/", tmp_path / "shipped"), ("", tmp_path / "own"), ("", tmp_path / "nowhere")]


def test_a_backbone_is_found_by_its_prefix_and_folder(tmp_path: Path) -> None:
    write_backbone(tmp_path / "shipped" / "digits")
    found = find(roots(tmp_path), "embedded/digits")
    assert found.info.labels.shown == tuple("0123456789")
    assert (found.info.family, found.info.prompted, found.info.flow, found.info.learned_variance, found.info.wordnet) == (
        "dit",
        *[False] * 4,
    )
    assert (found.info.image_size, found.info.channels, found.info.label_count, found.weights_bytes) == (8, 1, 10, len(WEIGHTS))
    assert found.info.block_names == tuple(f"transformer_blocks.{block}" for block in range(6))


def test_class_names_have_aliases_and_a_whole_text_goes_first(tmp_path: Path) -> None:
    write_backbone(tmp_path / "own" / "imagenet", ("tench, Tinca tinca", "crane", "crane, lifting crane"))
    found = find(roots(tmp_path), "imagenet")
    assert found.info.labels.shown == ("tench", "crane", "crane, lifting crane")
    names = {"tench, Tinca tinca": 0, "tench": 0, "Tinca tinca": 0}
    assert found.info.labels == names | {"crane": 1, "crane, lifting crane": 2, "lifting crane": 2}


def test_what_a_transformer_predicts_beyond_the_noise_is_the_variance(tmp_path: Path) -> None:
    write_backbone(tmp_path / "own" / "learned", out_channels=2)
    write_backbone(tmp_path / "own" / "fixed", out_channels=1)
    assert find(roots(tmp_path), "learned").info.learned_variance
    assert not find(roots(tmp_path), "fixed").info.learned_variance


def test_labels_without_a_name_are_counted(tmp_path: Path) -> None:
    write_backbone(tmp_path / "own" / "some", ("cat", "dog"), num_embeds_ada_norm=5)
    assert (find(roots(tmp_path), "some").info.label_count, len(find(roots(tmp_path), "some").info.labels)) == (5, 2)


def test_the_thousand_labels_from_tench_to_toilet_tissue_are_imagenets(tmp_path: Path) -> None:
    between = tuple(f"class {label}" for label in range(1, 999))
    write_backbone(tmp_path / "own" / "imagenet", ("tench, Tinca tinca", *between, "toilet tissue, toilet paper"))
    write_backbone(tmp_path / "own" / "other", ("tench", *between, "nematode"))
    write_backbone(tmp_path / "own" / "short", ("tench", *between[1:], "toilet tissue"))
    assert {found.name: found.info.wordnet for found in survey(roots(tmp_path))[0]} == {
        "imagenet": True,
        "other": False,
        "short": False,
    }


def test_a_vae_multiplies_the_size_and_makes_colour(tmp_path: Path) -> None:
    write_backbone(tmp_path / "own" / "latent", sample_size=32, in_channels=4)
    write_component(tmp_path / "own" / "latent" / "vae", block_out_channels=[128, 256, 512, 512])
    found = find(roots(tmp_path), "latent")
    assert (found.info.image_size, found.info.channels) == (256, 3)


@pytest.mark.parametrize("name", ["tiniest", "own/tiny", "../own/tiny", "embedded/../own/tiny", "", ".", "/tmp"])  # noqa: S108
def test_an_unknown_name_is_refused_naming_those_there_are(tmp_path: Path, name: str) -> None:
    write_backbone(tmp_path / "own" / "tiny")
    with pytest.raises(InvalidSpec, match="tiny") as caught:
        find(roots(tmp_path), name)
    assert caught.value.problems[0].field == "backbone"


def break_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("{")


def break_class(folder: Path) -> None:
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionXLPipeline", "id2label": {"0": "a"}}))


def break_labels(folder: Path) -> None:
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "DiTPipeline", "id2label": {"0": "a", "2": "b"}}))


def drop_config(folder: Path) -> None:
    (folder / "transformer" / "config.json").unlink()


def break_config(folder: Path) -> None:
    shape = {"num_layers": 0, "sample_size": 8, "in_channels": 1, "num_embeds_ada_norm": 10}
    (folder / "transformer" / "config.json").write_text(json.dumps(shape))


def drop_weights(folder: Path) -> None:
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").unlink()


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (break_index, "model_index.json"),
        (break_class, "_class_name"),
        (break_labels, "id2label"),
        (drop_config, "transformer/config.json"),
        (break_config, "num_layers"),
        (drop_weights, "safetensors"),
    ],
)
def test_a_broken_folder_is_named_with_its_fault_and_not_listed(tmp_path: Path, damage: object, named: str) -> None:
    write_backbone(tmp_path / "own" / "good")
    write_backbone(tmp_path / "own" / "broken")
    assert callable(damage)
    damage(tmp_path / "own" / "broken")
    with pytest.raises(BackboneUnavailable, match=named):
        find(roots(tmp_path), "broken")
    assert [found.name for found in survey(roots(tmp_path))[0]] == ["good"]


def test_the_revision_changes_with_weights_and_configuration_only(tmp_path: Path) -> None:
    write_backbone(tmp_path / "own" / "tiny")
    folder = tmp_path / "own" / "tiny"
    revisions = [find(roots(tmp_path), "tiny").revision()]
    (folder / "README.md").write_text("a card")
    revisions.append(find(roots(tmp_path), "tiny").revision())
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(safetensors(b"other weights"))
    revisions.append(find(roots(tmp_path), "tiny").revision())
    assert revisions[0] == revisions[1] != revisions[2]


def test_a_change_of_any_file_is_seen_at_once(tmp_path: Path) -> None:
    write_backbone(tmp_path / "tiny")
    here = [("", tmp_path)]
    assert find(here, "tiny").info.image_size
    config = tmp_path / "tiny" / "transformer" / "config.json"
    config.write_text("{")
    with pytest.raises(BackboneUnavailable):
        find(here, "tiny")
    assert [name for name, _ in survey(here)[1]] == ["tiny"]


def test_a_change_is_seen_though_size_and_time_are_those_of_before(tmp_path: Path) -> None:
    write_backbone(tmp_path / "own" / "tiny")
    assert find(roots(tmp_path), "tiny").info.labels.shown[0] == "0"
    index = tmp_path / "own" / "tiny" / "model_index.json"
    before = index.stat()
    index.write_text(index.read_text().replace('"0": "0"', '"0": "x"'))
    os.utime(index, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert index.stat().st_size == before.st_size
    assert find(roots(tmp_path), "tiny").info.labels.shown[0] == "x"
