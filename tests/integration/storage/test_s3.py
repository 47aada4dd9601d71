import errno
import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import IO, ClassVar, cast

import httpx
import numpy as np
import pytest

from app.domain.errors import ArtifactNotReady, PermanentError, StorageUnavailable
from app.storage.factory import store_for
from app.storage.local import LocalArtifactStore
from app.storage.s3 import PART_BYTES, S3ArtifactStore
from tests.servers.s3 import Bucket, CephServer, free_port

pytestmark = pytest.mark.s3


def new_store(bucket: Bucket, **changes: object) -> S3ArtifactStore:
    settings = bucket.settings(**changes)
    return S3ArtifactStore(settings, settings.artifacts_url or "")


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of four parts."""
    path = tmp_path / "large"
    path.write_bytes(np.random.default_rng(0).bytes(3 * PART_BYTES + 12345))
    return path


def test_a_large_file_is_sent_in_parts(s3: S3ArtifactStore, large: Path) -> None:
    artifact = s3.put("large", large, "application/zip")
    assert artifact.sha256 == hashlib.sha256(large.read_bytes()).hexdigest()
    assert httpx.get(s3.url("large", 60)).headers["etag"].strip('"').endswith("-4")


@pytest.mark.parametrize("checksums", ["when_supported", "when_required"])
def test_both_ways_of_checksums_store_small_and_large_files(bucket: Bucket, source: Path, large: Path, checksums: str) -> None:
    store = new_store(bucket, s3_checksums=checksums)
    for file in (source, large):
        store.put("k", file, "text/plain")
        with store.open("k") as stream:
            assert stream.read() == file.read_bytes()


class OnABadDisk(type(Path())):  # type: ignore[misc]
    """A file of which only the beginning can be read."""

    def open(self, *_: object, **__: object) -> IO[bytes]:  # type: ignore[override]
        class Half(io.FileIO):
            def read(self, size: int | None = -1, /) -> bytes:
                if self.tell() > 2 * PART_BYTES:
                    raise OSError(errno.EIO, "Input/output error")
                return super().read(size)

        return cast(IO[bytes], Half(str(self)))


def test_an_upload_is_aborted_when_its_file_cannot_be_read_to_the_end(ceph: CephServer, bucket: Bucket, large: Path) -> None:
    with pytest.raises(StorageUnavailable, match="cannot store half: Input/output error"):
        new_store(bucket).put("half", OnABadDisk(large), "text/plain")
    assert list(new_store(bucket).keys("half")) == []
    # The part that was under way may arrive behind the abort; the upload itself is over.
    assert not [name for name in ceph.index_of(bucket.name) if "half" in name and name.endswith(".meta")]


def test_a_presigned_url_needs_no_keys_and_names_the_file(s3: S3ArtifactStore, large: Path) -> None:
    s3.put("jobs/J/dapple-J.zip", large, "application/zip")
    url = s3.url("jobs/J/dapple-J.zip", 60)
    answer = httpx.get(url)
    assert answer.content == large.read_bytes()
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == 'attachment; filename="dapple-J.zip"'
    part = httpx.get(url, headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, large.read_bytes()[5:10])
    assert httpx.head(s3.url("jobs/J/dapple-J.zip", 60, "HEAD")).status_code == 200


def test_a_presigned_url_ends_with_its_time_and_opens_nothing_else(
    s3: S3ArtifactStore, source: Path, monkeypatch: pytest.MonkeyPatch, bucket: Bucket
) -> None:
    for key in ("mine", "other"):
        s3.put(key, source, "text/plain")
    url = s3.url("mine", 3)
    assert httpx.get(url).status_code == 200
    time.sleep(4.1)
    assert httpx.get(url).status_code == 403
    url = s3.url("mine", 60)
    assert httpx.get(url.replace("/mine?", "/other?")).status_code == 403
    assert httpx.get(url.replace("Expires=60", "Expires=600")).status_code == 403
    assert httpx.put(url, content=b"mischief").status_code == 403
    assert httpx.get(url.partition("?")[0]).status_code == 403
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert httpx.get(new_store(bucket).url("mine", 60)).status_code == 403


def test_clients_are_sent_to_the_public_endpoint(bucket: Bucket) -> None:
    store = new_store(bucket, s3_public_endpoint="https://files.example.org")
    assert store.url("k", 60).startswith(f"https://files.example.org/{bucket.name}/prefix/k?")


def test_what_dapple_was_told_goes_before_the_environments_endpoint(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    new_store(bucket).check()


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_keys_are_named(bucket: Bucket, source: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "wrong")
    store = new_store(bucket)
    for use in (
        store.check,
        store.check_writable,
        lambda: store.put("k", source, "text/plain"),
        lambda: store.open("k").__enter__(),
        lambda: list(store.keys("jobs/")),
        lambda: store.delete(["k"]),
        lambda: store.delete_prefix("jobs/"),
    ):
        with pytest.raises(StorageUnavailable, match="refuses the keys; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
            use()


def test_a_missing_bucket_is_named_and_is_no_missing_artifact(bucket: Bucket, source: Path, large: Path) -> None:
    store = new_store(bucket, artifacts_url="s3://dapple-nowhere")
    for use in (
        store.check,
        store.check_writable,
        lambda: store.put("k", source, "text/plain"),
        lambda: store.put("k", large, "text/plain"),
        lambda: store.open("k").__enter__(),
        lambda: list(store.keys("jobs/")),
        lambda: store.delete(["k"]),
    ):
        with pytest.raises(StorageUnavailable, match="there is no bucket dapple-nowhere at http"):
            use()


def test_a_server_that_is_not_there_is_named(bucket: Bucket) -> None:
    for endpoint in (f"http://127.0.0.1:{free_port()}", "http://no.such.host.invalid"):
        began = time.monotonic()
        with pytest.raises(StorageUnavailable, match=f"there is no connection to {endpoint}; check DAPPLE_S3_ENDPOINT"):
            new_store(bucket, s3_endpoint=endpoint).check()
        assert time.monotonic() - began < 6


@pytest.mark.slow
def test_a_silent_server_is_given_up_in_time(bucket: Bucket, source: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = new_store(bucket, s3_endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}")
        for use, most in ((store.check, 6), (lambda: store.put("k", source, "text/plain"), 22)):
            began = time.monotonic()
            with pytest.raises(StorageUnavailable, match="did not answer in time"):
                use()
            assert time.monotonic() - began < most


@pytest.mark.slow
def test_a_server_that_dies_during_a_put_leaves_no_object(ceph: CephServer, s3: S3ArtifactStore, tmp_path: Path) -> None:
    file = tmp_path / "huge"
    file.write_bytes(bytes(200 << 20))
    with killed_after(ceph, seconds=0.3), pytest.raises(StorageUnavailable, match="there is no connection to"):
        s3.put("killed", file, "application/zip")
    assert list(s3.keys("")) == []
    s3.put("killed", file, "application/zip")
    assert list(s3.keys("")) == ["killed"]
    with pytest.raises(StorageUnavailable), s3.open("killed") as stream, killed_after(ceph, seconds=0.1):
        while stream.read(1 << 20):
            pass
    s3.delete(["killed"])


@pytest.mark.slow
def test_a_gateway_that_is_back_within_seconds_is_waited_for(ceph: CephServer, bucket: Bucket, large: Path) -> None:
    store = new_store(bucket)
    ceph.kill_gateway()
    back = threading.Timer(2, ceph.start_gateway)
    back.start()
    try:
        store.put("waited", large, "application/zip")
    finally:
        back.join()
    with store.open("waited") as stream:
        assert hashlib.file_digest(stream, "sha256").digest() == hashlib.sha256(large.read_bytes()).digest()  # type: ignore[arg-type]


@contextmanager
def killed_after(ceph: CephServer, seconds: float) -> Generator[None]:
    """The gateway is killed while the block runs, and back afterwards."""
    killer = threading.Timer(seconds, ceph.kill_gateway)
    killer.start()
    try:
        yield
    finally:
        killer.join()
        ceph.start_gateway()


def test_bytes_that_were_damaged_on_their_way_are_refused(bucket: Bucket, large: Path) -> None:
    with damaging_proxy(bucket.endpoint, large.read_bytes()[4096:4104]) as endpoint:
        store = new_store(bucket, s3_endpoint=endpoint)
        with pytest.raises(StorageUnavailable, match=r"cannot store damaged: (the bytes were damaged|the server refuses)"):
            store.put("damaged", large, "application/zip")
    assert list(new_store(bucket).keys("damaged")) == []


@contextmanager
def damaging_proxy(endpoint: str, found: bytes) -> Generator[str]:
    """Passes everything on to the endpoint, except that `found` arrives as other bytes."""
    port = int(endpoint.rpartition(":")[2])

    def passed(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError), source:
            while chunk := source.recv(1 << 16):
                target.sendall(chunk.replace(found, bytes(len(found))))
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                server = socket.create_connection(("127.0.0.1", port))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=passed, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


MEASURED = '''
import json, re, sys
from pathlib import Path
from app.settings import Settings
from app.storage.factory import store_for

def peak():
    """In megabytes; ru_maxrss would begin with the parent's."""
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024

store = store_for(Settings())
store.check()
before = peak()
put = store.put("huge", Path(sys.argv[1]), "application/zip")
after_put = peak()
with store.open("huge") as stream:
    size = 0
    while chunk := stream.read(1 << 20):
        size += len(chunk)
print(json.dumps({"put": after_put - before, "read": peak() - before, "size": size}))
'''


@pytest.mark.slow
def test_a_file_of_300_megabytes_goes_through_little_memory(bucket: Bucket, tmp_path: Path) -> None:
    file = tmp_path / "huge"
    with file.open("wb") as writer:
        for _ in range(300):
            writer.write(os.urandom(1 << 20))
    command = [sys.executable, "-c", MEASURED, str(file)]
    done = subprocess.run(command, env=os.environ | bucket.environment, capture_output=True, check=True)
    measured = json.loads(done.stdout)
    assert measured["size"] == 300 << 20
    assert max(measured["put"], measured["read"]) < 48, measured
    new_store(bucket).delete(["huge"])


def test_the_store_is_chosen_by_the_settings(bucket: Bucket, tmp_path: Path) -> None:
    assert isinstance(store_for(bucket.settings(artifacts_url=None, data_dir=tmp_path)), LocalArtifactStore)
    store = store_for(bucket.settings())
    with pytest.raises(ArtifactNotReady), store.open("nothing"):
        pass
    assert store.file("nothing") is None
    assert store.sweep() == 0


def test_a_missing_library_is_named(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "app.storage.s3", None)
    with pytest.raises(PermanentError, match="install the extra `s3`"):
        store_for(bucket.settings())


class RecordingServer(BaseHTTPRequestHandler):
    """Has no object, and remembers how it was asked."""

    asked: ClassVar[list[str]] = []

    def _answer(self) -> None:
        self.asked.append(self.command)
        body = b"<Error><Code>NoSuchKey</Code></Error>"
        self.send_response(404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_DELETE = _answer  # noqa: N815 - the library's names

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def test_looking_whether_the_store_answers_only_reads(bucket: Bucket) -> None:
    """Probes and idle workers look every few seconds, and each write costs money and replication."""
    with HTTPServer(("127.0.0.1", 0), RecordingServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        new_store(bucket, s3_endpoint=f"http://127.0.0.1:{server.server_port}").check()
        server.shutdown()
    assert RecordingServer.asked == ["GET"]
