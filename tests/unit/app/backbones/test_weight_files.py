import json
from pathlib import Path

import pytest

from app.backbones.weight_files import Damaged, Missing, Unusable, weight_files
from tests.unit.app.stored import WEIGHTS

STEM = "diffusion_pytorch_model"
SHARDS = (f"{STEM}-00001-of-00002.safetensors", f"{STEM}-00002-of-00002.safetensors")


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(WEIGHTS)


def write_index(folder: Path, *shards: str, name: str = f"{STEM}.safetensors.index.json") -> None:
    (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": {f"w{i}": shard for i, shard in enumerate(shards)}}))


def found(folder: Path) -> dict[str, str]:
    """Names in the folder by those that a library looks for."""
    return {name: path.name for name, path in weight_files(folder, STEM).by_name.items()}


def test_a_whole_file_goes_before_its_variants(tmp_path: Path) -> None:
    write(tmp_path, f"{STEM}.safetensors", f"{STEM}.fp16.safetensors", f"{STEM}.bin", "other.safetensors")
    assert found(tmp_path) == {f"{STEM}.safetensors": f"{STEM}.safetensors"}


@pytest.mark.parametrize(
    ("variants", "chosen"), [(["fp16"], "fp16"), (["non_ema"], "non_ema"), (["ema", "fp16", "non_ema"], "fp16")]
)
def test_a_variant_is_taken_where_it_is_the_only_one_or_fp16(tmp_path: Path, variants: list[str], chosen: str) -> None:
    write(tmp_path, *(f"{STEM}.{variant}.safetensors" for variant in variants))
    assert found(tmp_path) == {f"{STEM}.safetensors": f"{STEM}.{chosen}.safetensors"}


def test_among_variants_without_an_order_none_is_chosen(tmp_path: Path) -> None:
    write(tmp_path, f"{STEM}.ema.safetensors", f"{STEM}.non_ema.safetensors")
    with pytest.raises(Unusable, match="variants ema, non_ema"):
        weight_files(tmp_path, STEM)


@pytest.mark.parametrize(
    ("index", "shards"),
    [
        (f"{STEM}.safetensors.index.json", SHARDS),
        (
            f"{STEM}.safetensors.index.fp16.json",
            (f"{STEM}.fp16-00001-of-00002.safetensors", f"{STEM}.fp16-00002-of-00002.safetensors"),
        ),
        (
            f"{STEM}.fp16.safetensors.index.json",
            (f"{STEM}-00001-of-00002.fp16.safetensors", f"{STEM}-00002-of-00002.fp16.safetensors"),
        ),
    ],
)
def test_an_index_and_all_that_it_names_are_the_weights(tmp_path: Path, index: str, shards: tuple[str, ...]) -> None:
    write_index(tmp_path, *shards, *shards, name=index)
    write(tmp_path, *shards, f"{STEM}-00003-of-00003.safetensors")
    assert found(tmp_path) == {f"{STEM}.safetensors.index.json": index} | {name: name for name in shards}
    assert weight_files(tmp_path, STEM).size_bytes == 2 * len(WEIGHTS)


def test_every_shard_that_an_index_names_must_be_there(tmp_path: Path) -> None:
    write_index(tmp_path, *SHARDS)
    write(tmp_path, SHARDS[0])
    with pytest.raises(Damaged, match=rf"index\.json names {SHARDS[1]}, which is not there: copy or download"):
        weight_files(tmp_path, STEM)


def test_an_old_index_beside_a_whole_file_is_not_followed(tmp_path: Path) -> None:
    write_index(tmp_path, *SHARDS)
    write(tmp_path, f"{STEM}.safetensors", SHARDS[0])
    assert found(tmp_path) == {f"{STEM}.safetensors": f"{STEM}.safetensors"}


def test_a_whole_file_beside_whole_shards_is_in_doubt(tmp_path: Path) -> None:
    write_index(tmp_path, *SHARDS)
    write(tmp_path, f"{STEM}.safetensors", *SHARDS)
    with pytest.raises(Unusable, match="remove one of them"):
        weight_files(tmp_path, STEM)


@pytest.mark.parametrize("shard", ["../other/model.safetensors", "/etc/passwd", "model.bin", "a\0.safetensors", ""])
def test_an_index_leads_to_safetensors_beside_it_only(tmp_path: Path, shard: str) -> None:
    write_index(tmp_path, shard)
    with pytest.raises(Unusable, match="weight_map"):
        weight_files(tmp_path, STEM)


@pytest.mark.parametrize("content", ["{}", "{", '{"weight_map": {}}', '{"weight_map": {"a": 1}}'])
def test_an_index_that_names_nothing_is_unusable(tmp_path: Path, content: str) -> None:
    (tmp_path / f"{STEM}.safetensors.index.json").write_text(content)
    with pytest.raises(Unusable, match=r"index\.json: weight_map"):
        weight_files(tmp_path, STEM)


@pytest.mark.parametrize(
    "name", [f"{STEM}.bin", "diffusion_flax_model.msgpack", "model.ckpt", "pytorch_lora_weights.safetensors"]
)
def test_weights_of_another_format_are_named(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, "config.json")
    with pytest.raises(Unusable, match=rf"there is no {STEM}\.safetensors, but {name}"):
        weight_files(tmp_path, STEM)


def test_a_part_without_weights_may_still_get_them(tmp_path: Path) -> None:
    for part in (tmp_path, tmp_path / "missing"):
        with pytest.raises(Missing, match="there is no"):
            weight_files(part, STEM)


def test_a_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    (tmp_path / f"{STEM}.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(Unusable, match=r"safetensors is a pointer of Git LFS.*git lfs pull"):
        weight_files(tmp_path, STEM)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"weights",
        WEIGHTS[:-1],
        WEIGHTS[:20],
        WEIGHTS + b"x",
        (2**63).to_bytes(8, "little") + WEIGHTS[8:],
        b"\0" * len(WEIGHTS),
    ],
    ids=["empty", "text", "cut", "header cut", "too long", "endless header", "zeros"],
)
def test_weights_that_are_not_whole_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / f"{STEM}.safetensors").write_bytes(content)
    with pytest.raises(Damaged, match=rf"^{STEM}\.safetensors is damaged or cut short: copy or download it again$"):
        weight_files(tmp_path, STEM)
