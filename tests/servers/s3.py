"""A real S3 server for tests, and a fresh bucket on it for every module."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from app.settings import Settings

SCRIPT = Path(__file__).with_name("s3.sh")
ENDPOINT = "DAPPLE_TEST_S3_ENDPOINT"
KEYS = {"AWS_ACCESS_KEY_ID": "testkey", "AWS_SECRET_ACCESS_KEY": "testsecret"}


class CephServer:
    """A Ceph gateway with its storage in `folder`: `memstore` keeps objects in memory, `bluestore` in files.

    It can be away in three ways: `kill_gateway` refuses connections until `start_gateway` (a second; no object is lost),
    `pause` accepts them and says nothing until `resume`, `stop` ends everything until `start` (5 s; `bluestore` only).
    """

    def __init__(self, folder: Path, port: int, store: str = "memstore") -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._port = port
        self._mon_port = free_port()
        self._store = store

    @staticmethod
    def missing() -> list[str]:
        """The programs that are not installed."""
        return [program for program in ("ceph-mon", "ceph-osd", "radosgw") if shutil.which(program) is None]

    def start(self) -> None:
        self._run("start", self._folder, self._port, self._mon_port, self._store)

    def stop(self) -> None:
        self._run("stop", self._folder)

    def start_gateway(self) -> None:
        self._run("gateway", self._folder)

    def kill_gateway(self) -> None:
        os.kill(self._gateway(), signal.SIGKILL)
        while _answers(self._port):
            time.sleep(0.01)

    def pause(self) -> None:
        os.kill(self._gateway(), signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self._gateway(), signal.SIGCONT)

    def index_of(self, bucket: str) -> list[str]:
        """Every name in the bucket's index; parts of unfinished uploads are there as well, under `_multipart_`."""
        command = ["radosgw-admin", "-c", self._folder / "ceph.conf", "-n", "client.rgw", "bi", "list", "--bucket", bucket]
        listed = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, timeout=60).stdout
        return [found["idx"] for found in json.loads(listed)]

    def _gateway(self) -> int:
        return int((self._folder / "run" / "client.rgw.pid").read_text())

    def _run(self, *arguments: object) -> None:
        # Into a file: daemons inherit it, and a pipe would stay open as long as they run.
        log = self._folder.with_suffix(".log")
        with log.open("wb") as output:
            done = subprocess.run([SCRIPT, *map(str, arguments)], stdout=output, stderr=output, timeout=120)
        assert done.returncode == 0, log.read_text()


@dataclass(frozen=True)
class Bucket:
    """A bucket of its own on a running server."""

    endpoint: str
    name: str

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to keep its artifacts here."""
        keys = {name: os.environ[name] for name in KEYS}
        return keys | {"DAPPLE_ARTIFACTS_URL": f"s3://{self.name}/prefix", "DAPPLE_S3_ENDPOINT": self.endpoint}

    def settings(self, **changes: object) -> Settings:
        where = {"artifacts_url": f"s3://{self.name}/prefix", "s3_endpoint": self.endpoint}
        return Settings.model_validate(where | {"log_level": "CRITICAL"} | changes)


@pytest.fixture(scope="session")
def ceph() -> Generator[CephServer]:
    """The server that all tests of a session share: whoever stops it starts it again."""
    if ENDPOINT in os.environ:
        pytest.skip(f"the server at {os.environ[ENDPOINT]} is not the tests' own: it cannot be stopped")
    if missing := CephServer.missing():
        pytest.skip(f"no S3 server: {', '.join(missing)} not installed (tests/servers/install.sh), {ENDPOINT} not set")
    folder = Path(tempfile.mkdtemp(prefix="dapple-s3-"))
    server = CephServer(folder / "ceph", free_port())
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def s3_endpoint(request: pytest.FixtureRequest) -> Generator[str]:
    """The URL of an S3 server, whose keys are in the environment."""
    if ENDPOINT in os.environ:
        yield os.environ[ENDPOINT]
        return
    server: CephServer = request.getfixturevalue("ceph")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        yield server.endpoint


@pytest.fixture(scope="module")
def bucket(s3_endpoint: str) -> Bucket:
    return make_bucket(s3_endpoint)


def make_bucket(endpoint: str) -> Bucket:
    """A new bucket on the server, with the keys in the environment."""
    import obstore
    from obstore.store import S3Store

    bucket = Bucket(endpoint, f"dapple-test-{uuid4().hex[:12]}")
    config = {"aws_endpoint_url_s3": endpoint, "region": "us-east-1"}
    store = S3Store(bucket.name, config=config, client_options={"allow_http": True})  # type: ignore[arg-type]
    httpx.put(obstore.sign(store, "PUT", "", timedelta(minutes=1)), trust_env=False, timeout=60).raise_for_status()
    return bucket


def free_port() -> int:
    """A port that was free just now, and so was the one above it."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
