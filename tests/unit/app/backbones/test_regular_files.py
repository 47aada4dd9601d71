import os
from pathlib import Path

import pytest

from app.backbones import regular_files
from app.backbones.regular_files import TooLarge, read_limited, sha256

LONG_AGO = 1_000_000_000


def test_a_file_of_equal_size_and_time_is_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regular_files, "SETTLED_SECONDS", -1.0)  # remember at once
    file = tmp_path / "weights"
    file.write_bytes(b"old")
    os.utime(file, (LONG_AGO, LONG_AGO))
    before = sha256(file)
    other = tmp_path / "other"
    other.write_bytes(b"new")
    os.utime(other, (LONG_AGO, LONG_AGO))
    other.replace(file)
    assert sha256(file) != before
    in_place = sha256(file)
    file.write_bytes(b"old")
    os.utime(file, (LONG_AGO, LONG_AGO))
    assert (sha256(file), sha256(file)) == (before, before) != (in_place, in_place)


def test_what_changed_just_now_is_not_remembered(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"old")
    sha256(file)
    assert not [path for path, _ in regular_files._sha256_by_mark if path == file]  # pyright: ignore[reportPrivateUsage]


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(b"12345")
    assert read_limited(file, 5) == b"12345"
    with pytest.raises(TooLarge):
        read_limited(file, 4)


def test_a_pipe_or_a_folder_is_no_file_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="not a regular file"):
            read_limited(path, 100)
