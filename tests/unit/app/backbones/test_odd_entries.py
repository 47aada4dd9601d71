import json
import os
from pathlib import Path

import pytest

from app.backbones.catalog import find, survey
from app.domain.errors import BackboneUnavailable, InvalidSpec
from tests.unit.app.stored import write_backbone


def write_tensors(file: Path, *names: str) -> None:
    """A safetensors file of one number for each name."""
    header = {name: {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]} for i, name in enumerate(names)}
    text = json.dumps(header).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4 * len(names)))


def told(root: Path, name: str) -> str:
    """What `find` says of it, which is what the list of broken ones says."""
    with pytest.raises(InvalidSpec) as caught:
        find([("", root)], name)
    (problem,) = caught.value.problems
    assert problem.field == "backbone"
    assert (name, problem.message) in survey([("", root)])[1]
    return problem.message


def test_a_checkpoint_in_one_file_is_named_with_the_way_to_convert_it(tmp_path: Path) -> None:
    write_tensors(tmp_path / "v1-5.safetensors", "model.diffusion_model.out.0.weight")
    write_tensors(tmp_path / "folder" / "v1-5.safetensors", "model.diffusion_model.out.0.weight")
    (tmp_path / "old.ckpt").write_bytes(b"pickle")
    for name in ("v1-5.safetensors", "folder", "old.ckpt"):
        assert "from_single_file" in told(tmp_path, name)


def test_a_lora_is_named_and_its_model_asked_for(tmp_path: Path) -> None:
    write_tensors(tmp_path / "style.safetensors", "lora_unet_down_blocks_0.lora_up.weight")
    write_tensors(tmp_path / "style" / "pytorch_lora_weights.safetensors", "unet.lora.up.weight")
    for name in ("style.safetensors", "style"):
        assert "is a LoRA" in told(tmp_path, name)


def test_a_cache_of_the_hub_is_named_with_the_revision_to_copy(tmp_path: Path) -> None:
    write_backbone(tmp_path / "models--org--name" / "snapshots" / "abc")
    message = told(tmp_path, "models--org--name")
    assert f"cp -rL {tmp_path}/models--org--name/snapshots/abc {tmp_path}/NAME" in message


def test_a_backbone_one_folder_deeper_is_named(tmp_path: Path) -> None:
    write_backbone(tmp_path / "org" / "model")
    assert "one folder deeper, in model" in told(tmp_path, "org")


def test_an_empty_folder_and_a_lone_part_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "config.json").write_text("{}")
    assert "no model_index.json" in told(tmp_path, "empty")
    assert "single part" in told(tmp_path, "part")


def test_a_link_that_leads_nowhere_may_lead_somewhere_later(tmp_path: Path) -> None:
    (tmp_path / "mounted").symlink_to(tmp_path / "disk")
    with pytest.raises(BackboneUnavailable, match=f"is a link to {tmp_path}/disk, which is not there"):
        find([("", tmp_path)], "mounted")
    write_backbone(tmp_path / "disk")
    assert find([("", tmp_path)], "mounted").info.label_count == 10


def test_notes_and_hidden_files_are_no_backbones(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / ".cache").mkdir()
    assert survey([("", tmp_path)])[1] == []


def test_an_odd_folder_is_left_out_of_the_list_and_named(tmp_path: Path) -> None:
    write_backbone(tmp_path / "good")
    write_backbone(tmp_path / os.fsdecode(b"caf\xe9"))
    write_backbone(tmp_path / "pipe")
    (tmp_path / "pipe" / "transformer" / "config.json").unlink()
    os.mkfifo(tmp_path / "pipe" / "transformer" / "config.json")
    (tmp_path / "looped").mkdir()
    (tmp_path / "looped" / "model_index.json").symlink_to("model_index.json")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    write_backbone(tmp_path / "walk")
    for i in range(8):
        (tmp_path / "walk" / f"up{i}").symlink_to(tmp_path / "walk")
    assert [folder.name for folder in survey([("", tmp_path)])[0]] == ["good", "walk"]
    broken = dict(survey([("", tmp_path)])[1])
    assert set(broken) == {r"caf\udce9", "pipe", "looped", "nowhere"}
    assert "not a regular file" in broken["pipe"]
    for name in broken:
        name.encode()


def test_a_name_that_is_near_a_usable_one_is_suggested_and_an_odd_one_not(tmp_path: Path) -> None:
    write_backbone(tmp_path / "flowers")
    (tmp_path / "flowers.ckpt").write_bytes(b"pickle")
    with pytest.raises(InvalidSpec, match=r"no backbone 'flower'; nearest: flowers$"):
        find([("", tmp_path)], "flower")
