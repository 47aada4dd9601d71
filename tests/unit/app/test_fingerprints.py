import os
import shutil
from pathlib import Path

from app.fingerprints import Fingerprint, fingerprint


def of(path: Path) -> Fingerprint:
    return fingerprint(path.stat())


def test_a_file_that_is_read_keeps_its_fingerprint(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"1")
    before = of(file)
    file.read_bytes()
    assert of(file) == before


def test_a_copy_of_equal_size_and_mtime_in_its_place_changes_it(tmp_path: Path) -> None:
    file, other = tmp_path / "a", tmp_path / "b"
    file.write_bytes(b"1")
    other.write_bytes(b"2")
    before = of(file)
    shutil.copystat(file, other)
    os.replace(other, file)  # noqa: PTH105
    assert of(file)[2:4] == before[2:4]
    assert of(file) != before


def test_a_rewrite_that_restores_mtime_changes_it(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"1")
    old = of(file)._replace(ctime_ns=0)
    file.write_bytes(b"2")
    os.utime(file, ns=(old.mtime_ns, old.mtime_ns))
    assert of(file)._replace(ctime_ns=0) == old
    assert of(file).ctime_ns > of(file).mtime_ns


def test_a_new_name_in_a_folder_changes_the_folders(tmp_path: Path) -> None:
    os.utime(tmp_path, (0, 0))
    before = of(tmp_path)
    (tmp_path / "a").touch()
    assert of(tmp_path) != before
