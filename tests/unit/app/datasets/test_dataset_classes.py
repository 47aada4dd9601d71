import os
import threading
import zipfile
from pathlib import Path

import pytest

from app.datasets import dataset_classes, zip_names
from app.datasets.dataset_classes import class_names
from app.datasets.image_folder import Limits
from app.domain.errors import InvalidSpec


def make(root: Path, *files: str) -> str:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root.as_uri()


def test_the_bundled_digits_have_ten_classes() -> None:
    assert class_names("sklearn://digits", []) == tuple("0123456789")


@pytest.mark.parametrize(
    "files",
    [
        ("a/1.png", "b/2.png"),
        ("a/x/1.png", "b/2.png"),
        ("a/1.png", "b/2.png", ".git/c", "__MACOSX/a/1.png", "readme.txt"),
        ("a/1.png", "b/2.png", "empty/.keep"),
        ("train/a/1.png", "train/b/2.png", "test/a/1.png"),
        ("wrap/a/1.png", "wrap/b/2.png"),
        ("wrap/train/a/1.png", "wrap/train/b/2.png"),
    ],
)
def test_class_folders_are_found_as_the_worker_finds_them(tmp_path: Path, files: tuple[str, ...]) -> None:
    assert class_names(make(tmp_path / "set", *files), [tmp_path]) == ("a", "b")


def test_a_zip_tells_its_classes_without_being_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("wrap/b/1.png", b"")
        archive.writestr("wrap/a/1.png", b"")
    assert class_names((tmp_path / "set.zip").as_uri(), [tmp_path]) == ("a", "b")


def test_a_link_to_a_parent_folder_does_not_go_round_for_ever(tmp_path: Path) -> None:
    uri = make(tmp_path / "set", "a/1.png", "b/1.png")
    (tmp_path / "set" / "a" / "up").symlink_to(tmp_path / "set")
    assert class_names(uri, [tmp_path]) == ("a", "b")


@pytest.mark.timeout(20)
def test_many_paths_to_one_folder_are_walked_once(tmp_path: Path) -> None:
    """A hundred folders, each with two links to the next, have 2^100 paths."""
    make(tmp_path / "set", "a/1.png", "b/1.png")
    steps = [tmp_path / "set" / "b" / f"step{number:03}" for number in range(100)]
    for step, after in zip(steps, [*steps[1:], tmp_path / "set" / "a"], strict=True):
        step.mkdir()
        (step / "left").symlink_to(after)
        (step / "right").symlink_to(after)
    assert class_names((tmp_path / "set").as_uri(), [tmp_path]) == ("a", "b")


def test_a_link_into_another_folder_that_may_be_read_is_followed(tmp_path: Path) -> None:
    make(tmp_path / "set", "a/1.png", "b/1.png")
    make(tmp_path / "whole", "c/1.png")
    (tmp_path / "set" / "c").symlink_to(tmp_path / "whole" / "c")
    assert class_names((tmp_path / "set").as_uri(), [tmp_path]) == ("a", "b", "c")


@pytest.mark.parametrize("target", ["elsewhere", "elsewhere/secret/1.png", "elsewhere/not-there"])
def test_the_names_behind_a_link_that_leads_out_of_what_may_be_read_are_not_told(tmp_path: Path, target: str) -> None:
    make(tmp_path / "root" / "set", "a/1.png", "b/1.png")
    make(tmp_path / "elsewhere", "secret/1.png")
    (tmp_path / "root" / "set" / "c").symlink_to(tmp_path / target)
    with pytest.raises(InvalidSpec, match="c is a symbolic link that leads out"):
        class_names((tmp_path / "root" / "set").as_uri(), [tmp_path / "root"])


def test_a_folder_too_large_to_be_listed_now_is_left_to_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = make(tmp_path / "set", *(f"{name}/{number}.png" for name in "ab" for number in range(20)))
    monkeypatch.setattr(dataset_classes, "LIMITS", Limits(entries=30))
    assert class_names(uri, [tmp_path]) is None


def test_a_zip_with_a_large_directory_is_left_to_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for number in range(100):
            archive.writestr(f"a/{number}.png", b"")
    monkeypatch.setattr(zip_names, "MAX_DIRECTORY_BYTES", 1000)
    assert class_names((tmp_path / "set.zip").as_uri(), [tmp_path]) is None


def test_a_class_without_training_images_is_refused_unless_others_are_chosen(tmp_path: Path) -> None:
    uri = make(tmp_path / "set", "train/a/1.png", "train/b/1.png", "val/a/1.png", "val/bird/1.png")
    with pytest.raises(InvalidSpec, match="class 'bird' has 0 training images"):
        class_names(uri, [tmp_path])
    assert class_names(uri, [tmp_path], ["a", "b"]) == ("a", "b", "bird")


@pytest.mark.parametrize(("place", "value"), [(6, 99), (46, 0xFF)], ids=["version", "name"])
def test_a_zip_that_cannot_be_read_is_refused_and_no_internal_error(tmp_path: Path, place: int, value: int) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("é/1.png", b"")
    content = bytearray((tmp_path / "set.zip").read_bytes())
    content[content.find(b"PK\1\2") + place] = value
    (tmp_path / "set.zip").write_bytes(content)
    with pytest.raises(InvalidSpec, match=r"set\.zip"):
        class_names((tmp_path / "set.zip").as_uri(), [tmp_path])


@pytest.mark.timeout(5)
def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidSpec, match="no dataset is recognised in it"):
        class_names((tmp_path / "pipe").as_uri(), [tmp_path])


@pytest.mark.parametrize(
    ("make_it", "why"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.write_text("x"), "no dataset is recognised in it"),
        (lambda path: path.mkdir(), "no class folders"),
        (lambda path: make(path, "1.png", "2.png"), "no class folders"),
    ],
    ids=["missing", "text file", "empty", "flat"],
)
def test_what_is_no_dataset_is_refused_with_the_reason(tmp_path: Path, make_it: object, why: str) -> None:
    assert callable(make_it)
    make_it(tmp_path / "set")
    with pytest.raises(InvalidSpec, match=why) as caught:
        class_names((tmp_path / "set").as_uri(), [tmp_path])
    assert caught.value.problems[0].field == "dataset_uri"


def test_a_name_too_long_for_the_file_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="cannot be read"):
        class_names(f"{tmp_path.as_uri()}/{'a' * 300}", [tmp_path])


@pytest.mark.parametrize("call", ["resolve", "stat"])
def test_every_call_on_the_disk_with_the_dataset_is_made_in_a_thread_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A disk that does not answer would hold the thread of the request; the second look is answered from memory."""
    uri = make(tmp_path / "set", "a/1.png", "b/1.png")
    for folder in (tmp_path / "set", tmp_path / "set" / "a", tmp_path / "set" / "b"):
        os.utime(folder, (1, 1))
    threads: list[str] = []
    owner = Path if call == "resolve" else os
    answer = getattr(owner, call)

    def noting(path: object, *arguments: object, **options: object) -> object:
        if "set" in str(path):
            threads.append(threading.current_thread().name)
        return answer(path, *arguments, **options)

    monkeypatch.setattr(owner, call, noting)
    for _ in range(2):
        assert class_names(uri, [tmp_path]) == ("a", "b")
    assert set(threads) == {"dataset-look"}
