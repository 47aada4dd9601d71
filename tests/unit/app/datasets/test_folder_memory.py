import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.datasets.folder_memory import FolderMemory

Classes = tuple[str, ...]


class Looks:
    """Lists a folder of class folders, and counts how often it was asked."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, path: Path) -> tuple[Classes, Sequence[str]]:
        self.count += 1
        folders = sorted(folder for folder in path.iterdir() if any(folder.iterdir()))
        return tuple(folder.name for folder in folders), [str(path), *map(str, path.iterdir())]


@pytest.fixture
def looks() -> Looks:
    return Looks()


@pytest.fixture
def memory(looks: Looks) -> FolderMemory[Path, Classes]:
    return FolderMemory(looks)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").touch()
    settle(tmp_path)
    return tmp_path


def settle(folder: Path) -> None:
    """As if nothing had changed for a minute."""
    for path in (folder, *folder.iterdir()):
        os.utime(path, (time.time() - 60, time.time() - 60))


def test_what_has_not_changed_is_looked_at_once(memory: FolderMemory[Path, Classes], looks: Looks, folder: Path) -> None:
    assert [memory.look(folder) for _ in range(3)] == [("cat", "dog")] * 3
    assert looks.count == 1


def test_a_new_class_and_an_emptied_one_are_seen_at_once(memory: FolderMemory[Path, Classes], folder: Path) -> None:
    memory.look(folder)
    (folder / "emu").mkdir()
    (folder / "emu" / "1.png").touch()
    assert memory.look(folder) == ("cat", "dog", "emu")
    settle(folder)
    memory.look(folder)
    (folder / "cat" / "1.png").unlink()
    assert memory.look(folder) == ("dog", "emu")


def test_what_changed_a_moment_ago_is_not_kept(memory: FolderMemory[Path, Classes], looks: Looks, folder: Path) -> None:
    (folder / "cat" / "2.png").touch()
    memory.look(folder)
    memory.look(folder)
    assert looks.count == 2


def test_another_folder_in_its_place_is_seen(
    memory: FolderMemory[Path, Classes], looks: Looks, folder: Path, tmp_path: Path
) -> None:
    memory.look(folder)
    (folder / "cat").rename(tmp_path.parent / f"{tmp_path.name}-old")
    (folder / "cat").mkdir()
    settle(folder)
    assert memory.look(folder) == ("dog",)
    assert looks.count == 2


def test_a_folder_that_is_gone_raises_again(memory: FolderMemory[Path, Classes], folder: Path) -> None:
    memory.look(folder)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(FileNotFoundError):
        memory.look(folder)
