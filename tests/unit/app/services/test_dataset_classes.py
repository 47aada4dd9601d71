import os
import zipfile
from pathlib import Path

import pytest

from app.domain.errors import InvalidSpec
from app.services.dataset_classes import class_names


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
    make(tmp_path / "set", "a/1.png", "b/1.png")
    (tmp_path / "set" / "a" / "up").symlink_to(tmp_path / "set")
    with pytest.raises(InvalidSpec, match="nested more than"):
        class_names((tmp_path / "set").as_uri(), [tmp_path])


def test_the_names_behind_a_link_that_leads_out_of_the_dataset_are_not_told(tmp_path: Path) -> None:
    make(tmp_path / "set", "a/1.png", "b/1.png")
    make(tmp_path / "elsewhere", "secret/1.png")
    (tmp_path / "set" / "c").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidSpec, match="c is a symbolic link that leads out"):
        class_names((tmp_path / "set").as_uri(), [tmp_path])


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
    with pytest.raises(InvalidSpec, match="neither a folder nor a zip"):
        class_names((tmp_path / "pipe").as_uri(), [tmp_path])


@pytest.mark.parametrize(
    ("make_it", "why"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.write_text("x"), "neither a folder nor a zip"),
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
