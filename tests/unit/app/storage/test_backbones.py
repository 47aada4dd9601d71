import json
from pathlib import Path

import pytest

from app.domain.errors import BackboneUnavailable, InvalidSpec
from app.storage.backbones import find, list_all
from tests.unit.app.stored import write_backbone


def roots(tmp_path: Path) -> list[tuple[str, Path]]:
    return [("embedded/", tmp_path / "shipped"), ("", tmp_path / "own"), ("", tmp_path / "nowhere")]


def test_a_backbone_is_found_by_its_prefix_and_folder(tmp_path: Path) -> None:
    write_backbone(tmp_path / "shipped" / "digits")
    found = find(roots(tmp_path), "embedded/digits")
    assert found.classes == tuple("0123456789")
    assert (found.family, found.prompted, found.flow, found.learned_variance, found.wordnet) == ("dit", *[False] * 4)
    assert (found.image_size, found.channels, found.label_count, found.weights_bytes) == (8, 1, 10, len(b"weights"))
    assert found.taps == tuple(f"transformer_blocks.{block}" for block in range(6))


def test_class_names_have_aliases_and_the_first_of_doubles_wins(tmp_path: Path) -> None:
    write_backbone(tmp_path / "own" / "imagenet", ("tench, Tinca tinca", "crane", "crane, lifting crane"))
    found = find(roots(tmp_path), "imagenet")
    assert found.classes == ("tench", "crane", "crane")
    assert found.labels == {"tench": 0, "Tinca tinca": 0, "crane": 1, "lifting crane": 2}


def test_a_vae_multiplies_the_size_and_makes_colour(tmp_path: Path) -> None:
    write_backbone(tmp_path / "own" / "latent", sample_size=32, in_channels=4)
    vae = tmp_path / "own" / "latent" / "vae" / "config.json"
    vae.parent.mkdir()
    vae.write_text(json.dumps({"block_out_channels": [128, 256, 512, 512]}))
    (vae.parent / "diffusion_pytorch_model.safetensors").touch()
    found = find(roots(tmp_path), "latent")
    assert (found.image_size, found.channels) == (256, 3)


@pytest.mark.parametrize("name", ["tiniest", "own/tiny", "../own/tiny", "embedded/../own/tiny", "", ".", "/tmp"])  # noqa: S108
def test_an_unknown_name_is_refused_naming_those_there_are(tmp_path: Path, name: str) -> None:
    write_backbone(tmp_path / "own" / "tiny")
    with pytest.raises(InvalidSpec, match="tiny") as caught:
        find(roots(tmp_path), name)
    assert caught.value.problems[0].field == "backbone"


def break_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("{")


def break_class(folder: Path) -> None:
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline", "id2label": {"0": "a"}}))


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
    assert [found.name for found in list_all(roots(tmp_path))] == ["good"]


def test_the_revision_changes_with_weights_and_configuration_only(tmp_path: Path) -> None:
    write_backbone(tmp_path / "own" / "tiny")
    folder = tmp_path / "own" / "tiny"
    revisions = [find(roots(tmp_path), "tiny").revision()]
    (folder / "README.md").write_text("a card")
    revisions.append(find(roots(tmp_path), "tiny").revision())
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(b"other weights")
    revisions.append(find(roots(tmp_path), "tiny").revision())
    assert revisions[0] == revisions[1] != revisions[2]
