from pathlib import Path

import pytest

from app.domain.errors import InvalidSpec
from worker.cli import new_folder, train


def train_briefly(data_dir: Path, **changes: object) -> None:
    options = {"name": "tiny", "heads": 1, "blocks": 1, "steps": 2, "batch_size": 4, "threads": 1, "device": "cpu"}
    train("sklearn://digits", data_dir=data_dir, **{**options, **changes})  # pyright: ignore[reportArgumentType]


def test_a_trained_backbone_is_a_folder_with_a_card_and_no_checkpoint(tmp_path: Path) -> None:
    train_briefly(tmp_path)
    folder = tmp_path / "backbones" / "tiny"
    assert {path.name for path in folder.iterdir()} == {"README.md", "model_index.json", "scheduler", "transformer"}
    assert "450 held-out images never seen" in (folder / "README.md").read_text()


def test_a_finished_backbone_is_not_trained_over(tmp_path: Path) -> None:
    train_briefly(tmp_path)
    with pytest.raises(InvalidSpec, match="already"):
        train_briefly(tmp_path)


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", ""])
def test_a_name_stays_inside_the_folder_of_backbones(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidSpec, match="name"):
        new_folder(tmp_path, name)


def test_a_patch_that_does_not_fit_and_two_channels_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="patch_size"):
        train_briefly(tmp_path, patch_size=3)
    with pytest.raises(InvalidSpec, match="channels"):
        train_briefly(tmp_path, channels=2)
