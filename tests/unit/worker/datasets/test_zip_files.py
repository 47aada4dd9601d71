import os
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from app.domain.errors import DatasetRejected
from tests.datasets import loaded
from worker.datasets.readers import zip_files as archive
from worker.datasets.readers.zip_files import ZipFiles as Opened


def zipped(folder: Path, *, inside: str = "") -> Path:
    target = folder.with_suffix(".zip")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as out:
        for path in sorted(folder.rglob("*"), reverse=True):
            out.write(path, inside + path.relative_to(folder).as_posix())
    return target


def ZipFiles(path: Path) -> Opened:
    return Opened(path, path.parent)


def zip_of(path: Path, name: str | zipfile.ZipInfo, content: bytes = b"x") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr(name, content)
    return path


@pytest.mark.parametrize("inside", ["", "flowers-1.0/"])
def test_a_zip_is_the_same_dataset_as_the_folder_it_was_made_of(flowers, inside):
    folder, archived = loaded(flowers), loaded(zipped(flowers, inside=inside))
    assert archived.digest == folder.digest
    assert list(archived.train.names) == list(folder.train.names)
    assert np.array_equal(archived.test.images([0, 3]), folder.test.images([0, 3]))


@pytest.mark.parametrize("name", ["../x.png", "rose/../../x.png", "/etc/x.png", "rose\\..\\x.png"])
def test_a_member_that_points_elsewhere_is_rejected_by_name(tmp_path, name):
    with pytest.raises(DatasetRejected, match=r"x\.png' is not a safe member name"):
        ZipFiles(zip_of(tmp_path / "a.zip", name))


def test_backslashes_between_folders_are_read_as_windows_means_them(flowers):
    target = flowers.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as out:
        for path in flowers.rglob("*.png"):
            out.write(path, "set/" + path.relative_to(flowers).as_posix())
    content = target.read_bytes()
    for name in ("rose", "daisy", "tulip"):
        content = content.replace(f"set/{name}/".encode(), f"set\\{name}\\".encode())
    target.write_bytes(content)
    dataset = loaded(target)
    assert (dataset.digest, dataset.classes) == (loaded(flowers).digest, ("daisy", "rose", "tulip"))
    assert "backslashes" in dataset.doubts[0]


def test_names_in_unmarked_utf_8_are_read_as_such(flowers):
    target = flowers.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as out:
        for path in flowers.rglob("*.png"):
            out.write(path, path.relative_to(flowers).as_posix().replace("rose", "r__e"))
    target.write_bytes(target.read_bytes().replace(b"r__e", "r\u00e9e".encode()))
    dataset = loaded(target)
    assert (dataset.classes, dataset.doubts) == (("daisy", "r\u00e9e", "tulip"), ())


def test_names_in_an_old_code_page_are_told(flowers):
    target = flowers.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as out:
        for path in flowers.rglob("*.png"):
            out.write(path, path.relative_to(flowers).as_posix().replace("rose", "r__e"))
    target.write_bytes(target.read_bytes().replace(b"r__e", b"r\xfc\xfce"))
    (doubt,) = loaded(target).doubts
    assert "code page 437 (r\u207f\u207fe/" in doubt
    assert "UTF-8" in doubt


def test_an_empty_or_truncated_zip_is_refused_in_words(tmp_path):
    empty = tmp_path / "empty.zip"
    with zipfile.ZipFile(empty, "w"):
        pass
    with pytest.raises(DatasetRejected, match="no class folders with images"):
        loaded(empty)
    cut = zip_of(tmp_path / "cut.zip", "rose/1.png")
    cut.write_bytes(cut.read_bytes()[:-30])
    with pytest.raises(DatasetRejected, match="not a readable zip"):
        loaded(cut)


def test_a_symbolic_link_is_rejected_by_name(tmp_path):
    link = zipfile.ZipInfo("rose/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(DatasetRejected, match=r"rose/link\.png.*symbolic link"):
        ZipFiles(zip_of(tmp_path / "a.zip", link, b"/etc/passwd"))


def test_a_bomb_is_rejected_before_it_is_unpacked(tmp_path):
    with pytest.raises(DatasetRejected, match="unpacks to more than"):
        ZipFiles(zip_of(tmp_path / "a.zip", "rose/1.png", bytes(4 << 20)))


def test_a_name_that_occurs_twice_is_rejected(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr("rose/1.png", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            out.writestr("rose/1.png", b"2")
    with pytest.raises(DatasetRejected, match="two members"):
        ZipFiles(tmp_path / "a.zip")


def test_too_many_members_are_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr("worker.datasets.readers.files.MAX_FILES", 0)
    with pytest.raises(DatasetRejected, match="more than 0 files"):
        ZipFiles(zip_of(tmp_path / "a.zip", "rose/1.png"))


def test_a_member_over_the_size_limit_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_FILE_BYTES", 3)
    with pytest.raises(DatasetRejected, match=r"^rose/1\.png: larger"):
        ZipFiles(zip_of(tmp_path / "a.zip", "rose/1.png", b"four")).read("rose/1.png")


def test_a_damaged_member_is_refused_by_name(tmp_path):
    path = zip_of(tmp_path / "a.zip", "rose/1.png", b"content of the member")
    damaged = bytearray(path.read_bytes())
    damaged[45] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(DatasetRejected, match=r"^rose/1\.png: cannot be unpacked"):
        ZipFiles(path).read("rose/1.png")


@pytest.mark.parametrize(("place", "value"), [(6, 99), (46, 0xFF)], ids=["version", "name"])
def test_a_directory_that_cannot_be_read_rejects_the_zip(tmp_path, place, value):
    content = bytearray(zip_of(tmp_path / "a.zip", "é/x.png").read_bytes())
    content[content.find(b"PK\1\2") + place] = value
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DatasetRejected, match=r"a\.zip is not a readable zip"):
        ZipFiles(tmp_path / "a.zip")


def two_members(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("rose/1.png", b"first" * 100)
        out.writestr("rose/2.png", b"second" * 100)
    return path


@pytest.mark.parametrize("place", [0, 5, 400], ids=["the same place", "within the other", "in the directory"])
def test_members_that_share_bytes_reject_the_zip(tmp_path, place):
    path = two_members(tmp_path / "a.zip")
    assert len(ZipFiles(path).paths) == 2
    content = bytearray(path.read_bytes())
    second = content.rindex(b"PK\1\2")
    moved = place if place != 400 else content.index(b"PK\1\2") - 100
    content[second + 42 : second + 46] = moved.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(DatasetRejected, match=r"a\.zip: 'rose/.\.png' overlaps another part"):
        ZipFiles(path)


def test_a_member_that_says_it_is_longer_than_the_zip_rejects_it(tmp_path):
    path = two_members(tmp_path / "a.zip")
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\1\2")
    content[entry + 20 : entry + 28] = (2000).to_bytes(4, "little") * 2
    path.write_bytes(content)
    with pytest.raises(DatasetRejected, match="overlaps another part"):
        ZipFiles(path)


def test_a_long_directory_rejects_the_zip_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_DIRECTORY_BYTES", 80)
    with pytest.raises(DatasetRejected, match="directory is longer than"):
        ZipFiles(two_members(tmp_path / "a.zip"))


def test_a_pipe_is_no_zip_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.zip")
    with pytest.raises(DatasetRejected, match="not a regular file"):
        loaded(tmp_path / "pipe.zip")
    with pytest.raises(DatasetRejected, match="not a regular file"):
        ZipFiles(tmp_path / "pipe.zip")
