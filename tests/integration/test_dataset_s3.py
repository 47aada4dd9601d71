"""Datasets in a bucket, on a real S3 server (worker/datasets/remote/s3_source.py)."""

from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

from app.domain.dataset_uri import parse
from app.domain.errors import DatasetRejected, TransientError
from app.storage.local import LocalArtifactStore
from tests.servers.s3 import KEYS, Bucket
from tests.unit.worker.datasets import sources
from worker.datasets.decode import Pixels
from worker.datasets.library import DatasetLibrary, Source
from worker.datasets.remote.s3_source import S3Source
from worker.disk_cache import DiskCache
from worker.progress import no_heartbeat

pytestmark = pytest.mark.s3


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def objects(bucket: Bucket) -> S3Store:
    config = {"region": "us-east-1", "aws_endpoint_url_s3": bucket.endpoint}
    return S3Store(bucket.name, config=config, client_options={"allow_http": True})  # type: ignore[arg-type]


def put_below(objects: S3Store, prefix: str, root: Path) -> None:
    for path in root.rglob("*"):
        if path.is_file():
            obstore.put(objects, f"{prefix}/{path.relative_to(root).as_posix()}", path.read_bytes())


def source_of(bucket: Bucket, key: str, most_bytes: int = 1 << 30) -> S3Source:
    return S3Source(parse(f"s3://{bucket.name}/{key}"), bucket.endpoint, "us-east-1", most_bytes)


def test_class_folders_and_an_archive_in_a_bucket_are_one_dataset(bucket, objects, tmp_path):
    put_below(objects, "sets/animals é", sources.folder(tmp_path / "animals"))
    obstore.put(objects, "sets/animals.bin", sources.tarred(tmp_path / "animals").read_bytes())
    settings = bucket.settings(dataset_buckets=bucket.name)
    library = DatasetLibrary(LocalArtifactStore(tmp_path / "store"), DiskCache(tmp_path / "cache", 1 << 30), settings)
    found = [
        library.read(Source(parse(f"s3://{bucket.name}/{key}"), (), 0.25), Pixels(8, 3), tmp_path)
        for key in ("sets/animals%20%C3%A9", "sets/animals.bin", "sets/animals%20%C3%A9/")
    ]
    assert [(each.classes, len(each.train), len(each.test)) for each in found] == [(sources.CLASSES, 8, 4)] * 3
    assert len({each.digest for each in found}) == 1


def test_a_fingerprint_changes_with_an_object(bucket, objects, tmp_path):
    put_below(objects, "changing", sources.folder(tmp_path / "animals"))
    before = source_of(bucket, "changing").fingerprint(no_heartbeat)
    assert source_of(bucket, "changing").fingerprint(no_heartbeat) == before
    obstore.put(objects, "changing/train/cat/0.png", b"other")
    assert source_of(bucket, "changing").fingerprint(no_heartbeat) != before


def test_what_cannot_be_read_is_told_apart(bucket, objects, tmp_path, monkeypatch):
    obstore.put(objects, "only", b"0123456789")
    with pytest.raises(DatasetRejected, match="there is nothing at s3://"):
        source_of(bucket, "nothing").fingerprint(no_heartbeat)
    with pytest.raises(DatasetRejected, match=r"has 10 bytes \(DAPPLE_DOWNLOAD_BYTES: 9\)"):
        source_of(bucket, "only", 9).fetch(tmp_path, no_heartbeat)
    with pytest.raises(DatasetRejected, match=r"the keys of the worker may not read|there is nothing at"):
        S3Source(parse("s3://no-such-bucket/x"), bucket.endpoint, "us-east-1", 1).fingerprint(no_heartbeat)
    with pytest.raises(TransientError, match="does not answer"):
        S3Source(parse("s3://bucket/x"), "http://127.0.0.1:1", "us-east-1", 1).fingerprint(no_heartbeat)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(DatasetRejected, match="the keys of the worker may not read"):
        source_of(bucket, "only").fingerprint(no_heartbeat)


def test_keys_that_are_no_paths_are_refused(bucket, objects, tmp_path):
    obstore.put(objects, "twice/a", b"1")
    obstore.put(objects, "twice/a/b.png", b"2")
    with pytest.raises(DatasetRejected, match="has an object 'a' and objects below it"):
        source_of(bucket, "twice").fetch(tmp_path, no_heartbeat)
