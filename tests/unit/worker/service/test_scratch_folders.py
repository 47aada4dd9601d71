import subprocess
import sys
from pathlib import Path

from worker.service.scratch_folders import remove_abandoned, scratch_folder


def test_a_scratch_folder_is_empty_and_vanishes(tmp_path: Path):
    with scratch_folder(tmp_path / "scratch") as folder:
        assert list(folder.iterdir()) == []
        (folder / "samples.npz").write_bytes(b"half")
    assert not folder.exists()


def test_what_a_killed_process_left_is_removed(tmp_path: Path):
    (tmp_path / "tmp1").mkdir()
    (tmp_path / "tmp1" / "samples.npz").write_bytes(b"half")

    assert remove_abandoned(tmp_path, grace_seconds=0) == 1
    assert not (tmp_path / "tmp1").exists()


def test_a_folder_made_just_now_is_left_alone(tmp_path: Path):
    (tmp_path / "tmp1").mkdir()

    assert remove_abandoned(tmp_path, grace_seconds=60) == 0


def test_without_a_root_there_is_nothing_to_remove(tmp_path: Path):
    assert remove_abandoned(tmp_path / "none") == 0


def test_a_folder_that_another_process_holds_is_left_alone_until_it_is_killed(tmp_path: Path):
    holder = f"""
from pathlib import Path
from worker.service.scratch_folders import scratch_folder
with scratch_folder(Path({str(tmp_path)!r})) as folder:
    print(folder, flush=True)
    input()
"""
    command = [sys.executable, "-c", holder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        folder = Path(process.stdout.readline().strip())
        assert remove_abandoned(tmp_path, grace_seconds=0) == 0
        assert folder.exists()
        process.kill()
    assert remove_abandoned(tmp_path, grace_seconds=0) == 1
    assert not folder.exists()
