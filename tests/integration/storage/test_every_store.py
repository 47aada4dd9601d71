"""What every ArtifactStore promises, asked of a folder and of a real S3 server."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.domain.errors import ArtifactNotReady, StorageUnavailable
from app.domain.ports import ArtifactStore


def content(store: ArtifactStore, key: str) -> bytes:
    with store.open(key) as stream:
        return stream.read()


def test_what_was_put_is_read_back_with_its_digest(store: ArtifactStore, source: Path) -> None:
    artifact = store.put("jobs/J/archive.zip", source, "application/zip")
    assert content(store, artifact.key) == b"pictures"
    assert artifact.sha256 == hashlib.sha256(b"pictures").hexdigest()
    assert (artifact.key, artifact.size_bytes, artifact.media_type) == ("jobs/J/archive.zip", 8, "application/zip")


@pytest.mark.parametrize("size_bytes", [0, 1, (5 << 20) - 1, 5 << 20, (5 << 20) + 1, (12 << 20) + 345])
def test_contents_of_every_size_come_back_whole(store: ArtifactStore, tmp_path: Path, size_bytes: int) -> None:
    data = np.random.default_rng(0).bytes(size_bytes)
    (tmp_path / "large").write_bytes(data)
    artifact = store.put("k", tmp_path / "large", "application/octet-stream")
    assert (artifact.size_bytes, artifact.sha256) == (size_bytes, hashlib.sha256(data).hexdigest())
    assert content(store, "k") == data


def test_a_stream_can_be_read_from_anywhere(store: ArtifactStore, tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes((6 << 20) + 7)
    (tmp_path / "large").write_bytes(data)
    store.put("k", tmp_path / "large", "application/octet-stream")
    with store.open("k") as stream:
        assert stream.seekable()
        assert (stream.seek(-10, 2), stream.read()) == (len(data) - 10, data[-10:])
        assert (stream.seek(5_000_000), stream.read(1_000_000)) == (5_000_000, data[5_000_000:6_000_000])
        assert (stream.seek(-5, 1), stream.tell(), stream.read(5)) == (5_999_995, 5_999_995, data[5_999_995:6_000_000])
        assert (stream.seek(len(data) + 100), stream.read(10)) == (len(data) + 100, b"")
        assert (stream.seek(0), stream.read()) == (0, data)


def test_arrays_are_loaded_from_a_stream(store: ArtifactStore, tmp_path: Path) -> None:
    arrays = {"images": np.arange(60_000, dtype=np.uint8).reshape(100, 600), "label": np.arange(100)}
    np.savez(tmp_path / "samples.npz", allow_pickle=False, **arrays)
    store.put("k", tmp_path / "samples.npz", "application/x-npz")
    with store.open("k") as stream:
        loaded = dict(np.load(stream))
    assert loaded.keys() == arrays.keys()
    assert all(np.array_equal(loaded[name], arrays[name]) for name in arrays)


def test_what_goes_wrong_while_a_stream_is_open_is_not_taken_for_the_stores_fault(store: ArtifactStore, source: Path) -> None:
    store.put("k", source, "text/plain")
    with pytest.raises(OSError, match="No space left"), store.open("k"):
        raise OSError(28, "No space left on device")


def test_putting_again_replaces(store: ArtifactStore, source: Path) -> None:
    store.put("k", source, "text/plain")
    source.write_bytes(b"other")
    store.put("k", source, "text/plain")
    assert content(store, "k") == b"other"


def test_nothing_is_left_of_a_put_that_failed(store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="cannot store k: No such file"):
        store.put("k", tmp_path / "missing", "text/plain")
    assert list(store.keys("")) == []


def test_an_input_output_error_is_a_passing_fault(store: ArtifactStore) -> None:
    with pytest.raises(StorageUnavailable, match="cannot store k"):
        store.put("k", Path("/proc/self/mem"), "text/plain")


@pytest.mark.parametrize("key", ["", "/etc/x", "../x", "a/../x", "a/./x", "a//x", "a/", "a\\x", "a\0x", ".unfinished/x"])
def test_no_key_leads_elsewhere(store: ArtifactStore, source: Path, key: str) -> None:
    for use in (
        lambda: store.put(key, source, "text/plain"),
        lambda: store.file(key),
        lambda: store.url(key, 60),
        lambda: store.size_bytes(key),
        lambda: store.delete([key]),
        lambda: content(store, key),
    ):
        with pytest.raises(ValueError, match="not a key"):
            use()


def test_what_is_not_there_is_not_ready(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactNotReady), store.open("k"):
        pass
    with pytest.raises(ArtifactNotReady):
        store.size_bytes("k")


def test_the_size_is_that_of_the_stored_bytes(store: ArtifactStore, source: Path) -> None:
    store.put("k", source, "text/plain")
    assert store.size_bytes("k") == source.stat().st_size


def test_keys_are_listed_by_prefix_and_sorted(store: ArtifactStore, source: Path) -> None:
    every = ["jobs/a-b/x", "jobs/a/x", "jobs/a/y/z", "jobs/a/yy", "jobs/b/x"]
    for key in reversed(every):
        store.put(key, source, "text/plain")
    assert list(store.keys("jobs/a/")) == ["jobs/a/x", "jobs/a/y/z", "jobs/a/yy"]
    assert list(store.keys("jobs/a/y")) == ["jobs/a/y/z", "jobs/a/yy"]
    assert list(store.keys("")) == list(store.keys("j")) == every
    assert list(store.keys("jobs/c/")) == []


def test_deleting_a_prefix_spares_its_neighbours(store: ArtifactStore, source: Path) -> None:
    for key in ("jobs/a/x", "jobs/ab/x"):
        store.put(key, source, "text/plain")
    store.delete_prefix("jobs/a/")
    store.delete_prefix("jobs/a/")
    assert list(store.keys("")) == ["jobs/ab/x"]
    for prefix in ("", "/", "../", "jobs"):
        with pytest.raises(ValueError, match=r"not a key|ends in a slash"):
            store.delete_prefix(prefix)


def test_keys_are_deleted_by_name_and_those_that_are_gone_do_not_matter(store: ArtifactStore, source: Path) -> None:
    for key in ("jobs/a/1/x", "jobs/a/1/y", "jobs/b/1/x"):
        store.put(key, source, "text/plain")
    store.delete(["jobs/a/1/x", "jobs/b/1/x", "jobs/c/1/x"])
    store.delete([])
    assert list(store.keys("")) == ["jobs/a/1/y"]


def test_more_keys_than_a_page_are_listed_and_deleted(store: ArtifactStore, source: Path) -> None:
    every = [f"jobs/a/{number:04d}" for number in range(260)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, source, "text/plain"), every))
    assert list(store.keys("jobs/")) == every
    store.delete(every[:255])
    assert list(store.keys("jobs/")) == every[255:]
    store.delete_prefix("jobs/a/")
    assert list(store.keys("jobs/")) == []


def test_a_store_that_can_be_written_says_so_and_keeps_nothing_of_the_trial(store: ArtifactStore) -> None:
    store.check()
    store.check_writable()
    assert list(store.keys("")) == []
