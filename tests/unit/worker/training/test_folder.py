import fcntl
import os
from pathlib import Path

import pytest

from app.domain.errors import DatasetRejected, InvalidSpec, PermanentError
from worker.training.folder import is_finished, refuse_escaped, training_folder


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "", "caf\udce9"])
def test_a_name_is_a_plain_folder_name_inside_the_folder_of_backbones(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidSpec, match="name"), training_folder(tmp_path, name):
        pass


def test_two_processes_do_not_train_one_backbone(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    descriptor = os.open(tmp_path / "one", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(InvalidSpec, match="another process"), training_folder(tmp_path, "one"):
        pass
    os.close(descriptor)
    with training_folder(tmp_path, "one") as folder:
        assert folder == tmp_path / "one"


def test_a_folder_that_cannot_be_made_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "backbones").touch()
    refused = pytest.raises(PermanentError, match="backbones/one cannot be written: Not a directory")
    with refused, training_folder(tmp_path / "backbones", "one"):
        pass


@pytest.mark.parametrize(("index", "finished"), [(b"", False), (b'{"_class', False), (b"{}", True), (None, False)])
def test_a_backbone_beside_its_checkpoint_is_finished_if_its_index_is_whole(tmp_path: Path, index, finished) -> None:
    (tmp_path / "checkpoint.pt").touch()
    if index is not None:
        (tmp_path / "model_index.json").write_bytes(index)
    assert is_finished(tmp_path) is finished


def test_a_backbone_without_a_checkpoint_is_never_taken_for_unfinished(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").touch()
    assert is_finished(tmp_path)


def test_class_names_that_are_not_utf8_are_refused_by_name() -> None:
    refuse_escaped([])
    with pytest.raises(DatasetRejected, match=r"class names that are not UTF-8: 1 \(caf\\xe9\); rename these folders"):
        refuse_escaped(["caf\\xe9"])
