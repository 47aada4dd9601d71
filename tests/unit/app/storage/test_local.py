import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.domain.errors import ArtifactDamaged, ArtifactNotReady, StorageUnavailable
from app.storage.local import LocalArtifactStore


@pytest.fixture
def store(tmp_path: Path) -> LocalArtifactStore:
    return LocalArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"pictures")
    return path


PROGRAM = """
import resource, signal, sys
from pathlib import Path
from app.storage.local import LocalArtifactStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
LocalArtifactStore(Path(sys.argv[1])).check()
"""


def content(store: LocalArtifactStore, key: str) -> bytes:
    with store.open(key) as stream:
        return stream.read()


def test_what_was_put_is_read_back_with_its_digest(store: LocalArtifactStore, source: Path) -> None:
    artifact = store.put("jobs/J/archive.zip", source, "application/zip")
    assert artifact.sha256 == hashlib.sha256(b"pictures").hexdigest()
    assert (artifact.size_bytes, artifact.media_type) == (8, "application/zip")
    assert content(store, artifact.key) == b"pictures"


def test_putting_again_replaces(store: LocalArtifactStore, source: Path) -> None:
    store.put("k", source, "text/plain")
    source.write_bytes(b"other")
    store.put("k", source, "text/plain")
    assert content(store, "k") == b"other"


def test_a_job_is_deleted_whole_while_its_attempts_are_dropped_too(store: LocalArtifactStore, source: Path) -> None:
    attempts = [f"jobs/J/sample-{number}/1/" for number in range(60)]
    for attempt in attempts:
        store.put(f"{attempt}file", source, "text/plain")
    with ThreadPoolExecutor(2) as pool:
        dropped = pool.submit(lambda: [store.delete_prefix(attempt) for attempt in reversed(attempts)])
        store.delete_prefix("jobs/J/")
        left = list(store.keys("jobs/J/"))
        dropped.result()
    assert left == []


def test_nothing_is_left_of_a_copy_that_failed(store: LocalArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable):
        store.put("k", tmp_path / "missing", "text/plain")
    assert list(store.keys("")) == []
    assert store.sweep(older_than_seconds=0) == 0


def test_what_is_not_there_is_not_ready(store: LocalArtifactStore) -> None:
    with pytest.raises(ArtifactNotReady):
        store.file("k")
    with pytest.raises(ArtifactNotReady), store.open("k"):
        pass


@pytest.mark.parametrize("key", ["jobs/J/file", "jobs/J/folder", "jobs/J/pipe", "jobs/J/loop", "jobs/L/outside", "jobs/F/x"])
def test_what_is_no_plain_file_below_the_folder_is_damaged(store: LocalArtifactStore, source: Path, key: str) -> None:
    place = source.parent / "artifacts" / "jobs" / "J"
    (place / "folder").mkdir(parents=True)
    (place / "file").symlink_to(source)
    (place / "loop").symlink_to("loop")
    os.mkfifo(place / "pipe")
    (source.parent / "elsewhere").mkdir()
    (source.parent / "elsewhere" / "outside").write_bytes(b"secret")
    (place.parent / "L").symlink_to(source.parent / "elsewhere")
    (place.parent / "F").touch()
    with pytest.raises(ArtifactDamaged, match=f"{key} is not a plain file"):
        store.file(key)


def test_a_link_is_listed_and_deleted_as_itself(store: LocalArtifactStore, source: Path) -> None:
    elsewhere = source.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    store.put("jobs/J/k", source, "text/plain")
    (source.parent / "artifacts" / "jobs" / "L").symlink_to(elsewhere)
    assert list(store.keys("")) == ["jobs/J/k", "jobs/L"]
    store.delete_prefix("jobs/L/")
    assert list(store.keys("")) == ["jobs/J/k"]
    assert (elsewhere / "kept").exists()


def test_a_folder_that_has_become_a_file_is_the_stores_fault(tmp_path: Path) -> None:
    (tmp_path / "artifacts").touch()
    with pytest.raises(StorageUnavailable, match="cannot read k: Not a directory"):
        LocalArtifactStore(tmp_path / "artifacts").file("k")


def test_an_open_file_outlives_its_deletion(store: LocalArtifactStore, source: Path) -> None:
    store.put("jobs/J/k", source, "text/plain")
    with store.file("jobs/J/k") as stream:
        store.delete_prefix("jobs/J/")
        assert stream.read() == b"pictures"


def test_only_copies_that_a_crash_left_are_swept(store: LocalArtifactStore, tmp_path: Path) -> None:
    left = tmp_path / "artifacts" / ".unfinished" / "left"
    left.parent.mkdir(parents=True)
    left.touch()
    assert store.sweep(older_than_seconds=3600) == 0
    assert store.sweep(older_than_seconds=0) == 1
    assert not left.exists()


@pytest.mark.slow
def test_copies_that_get_their_keys_meanwhile_are_no_trouble_to_a_sweep(store: LocalArtifactStore, source: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        putting = pool.submit(lambda: [store.put(f"jobs/J/{number}", source, "text/plain") for number in range(300)])
        while not putting.done():
            assert store.sweep(older_than_seconds=60) == 0


def test_a_full_disk_is_told_with_its_folder_and_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path / "artifacts"], capture_output=True, text=True, check=False)
    assert f"StorageUnavailable: the artifact folder {tmp_path / 'artifacts'} cannot be written: " in done.stderr
    assert list((tmp_path / "artifacts" / ".unfinished").iterdir()) == []


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnavailable):
        LocalArtifactStore(tmp_path / "file" / "artifacts").check()
