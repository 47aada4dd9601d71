"""Datasets from elsewhere: addresses, download, https_source, hub_source and remote; s3_source has a test with a server."""

import json
import socket
import ssl
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import httpcore
import numpy as np
import pytest

from app.domain.dataset_uri import parse
from app.domain.errors import DatasetRejected, InvalidSpec, TransientError
from app.settings import Settings
from tests.servers.files import FileServer, certificate_in, serving
from tests.unit.worker.datasets import sources
from worker.datasets.decode import Pixels
from worker.datasets.library import DatasetLibrary, Source
from worker.datasets.remote import download as module
from worker.datasets.remote.addresses import PublicOnly, addresses_of, check_address
from worker.datasets.remote.download import Downloader, DownloadLimits, Found
from worker.datasets.remote.https_source import HttpsSource
from worker.datasets.remote.hub_source import HubSource
from worker.progress import no_heartbeat

LOOPBACK = [ip_network("127.0.0.0/8")]
# fmt: off
PRIVATE = [
    "127.0.0.1", "127.8.9.10", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",  # noqa: S104
    "169.254.0.1", "100.64.0.1", "100.127.255.255", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "168.63.129.16", "192.88.99.1", "::1", "::", "fe80::1",
    "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::",
    "2002:808:808::", "2001::1", "2001:db8::1", "100::1",
]
# fmt: on
# How this machine may be written in a URL; the system resolves most of these.
# fmt: off
DISGUISED = [
    "127.1", "127.0.1", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1", "017700000001", "localhost", "0", "[::1]",
    "[::ffff:7f00:1]",
]
# fmt: on


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    return certificate_in(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def files(certificate) -> Iterator[FileServer]:
    with serving(certificate) as server:
        yield server


@pytest.fixture
def downloader(certificate, monkeypatch) -> Downloader:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
    context = ssl.create_default_context(cafile=str(certificate))
    return Downloader(DownloadLimits(1 << 30, 60, LOOPBACK), ssl_context=context)


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_refused(address):
    with pytest.raises(DatasetRejected, match="is not public; DAPPLE_DATASET_NETWORKS allows networks"):
        check_address(ip_address(address), "host")


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "104.16.1.1"])
def test_public_addresses_are_reached(address):
    check_address(ip_address(address), "host")


def test_an_allowed_network_is_reached():
    check_address(ip_address("10.1.2.3"), "host", [ip_network("10.1.0.0/16")])
    check_address(ip_address("::ffff:10.1.2.3"), "host", [ip_network("10.1.0.0/16")])
    with pytest.raises(DatasetRejected):
        check_address(ip_address("10.2.0.1"), "host", [ip_network("10.1.0.0/16")])


@pytest.mark.parametrize("host", DISGUISED)
def test_no_connection_is_made_to_this_machine_however_it_is_written(files, downloader, host, tmp_path):
    port = files.address.rpartition(":")[2]
    refused = Downloader(DownloadLimits(1 << 20, 60), ssl_context=downloader.ssl_context)
    with pytest.raises((DatasetRejected, TransientError)):
        refused.fetch(f"https://{host}:{port}/a", tmp_path / "a")
    assert files.requests == []


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(monkeypatch):
    """A name that resolves to a public address first, and to a private one when it is asked again."""
    answers = iter(["8.8.8.8", "127.0.0.1"])
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, port, **_: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]
    )
    connected = []
    backend = PublicOnly()
    monkeypatch.setattr(backend._backend, "connect_tcp", lambda host, port, *_: connected.append((host, port)))
    backend.connect_tcp("rebinding.example", 443)
    assert connected == [("8.8.8.8", 443)]


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 443)) for each in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(DatasetRejected, match=r"host has the address 10\.0\.0\.1"):
        PublicOnly().connect_tcp("host", 443)


def test_a_name_without_an_address_may_have_one_later():
    with pytest.raises(httpcore.ConnectError, match="has no address"):
        addresses_of("no-such-host.invalid", 443)


def test_a_file_arrives_whole_though_it_is_cut_twenty_times(files, downloader, tmp_path):
    content = np.random.default_rng(0).bytes(2_000_000)
    files.contents["/a"], files.etags["/a"] = content, '"one"'
    files.cut, files.cuts = 90_000, 20
    assert downloader.fetch(f"{files.address}/a", tmp_path / "a").read_bytes() == content
    assert len(files.requests) == 21
    assert files.requests[1][1]["range"].startswith("bytes=")
    assert files.requests[1][1]["if-range"] == '"one"'


def test_what_changed_after_a_cut_is_read_from_its_beginning(files, downloader, tmp_path):
    old, new = b"o" * 400_000, b"n" * 300_000
    files.etags["/a"] = '"old"'

    def changing(headers):
        if len(files.requests) == 1:
            return 200, {"ETag": '"old"'}, old
        assert headers["if-range"] == '"old"'
        return 200, {"ETag": '"new"'}, new

    files.answers["/a"] = changing
    files.cut, files.cuts = 100_000, 1
    assert downloader.fetch(f"{files.address}/a", tmp_path / "a").read_bytes() == new


def test_redirects_are_followed_to_public_addresses_alone(files, downloader, tmp_path):
    files.contents["/a"] = b"content"
    files.answers["/one"] = lambda _: (302, {"Location": "/two"}, b"")
    files.answers["/two"] = lambda _: (307, {"Location": f"{files.address}/a"}, b"")
    assert downloader.fetch(f"{files.address}/one", tmp_path / "a").read_bytes() == b"content"


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("http://127.0.0.1/a", "which is not https"),
        ("file:///etc/passwd", "which is not https"),
        ("https://user:secret@127.0.0.1/a", "leads to a URL that is not plain"),
        ("https://169.254.169.254/latest/meta-data", "169.254.169.254, which is not public"),
        ("https://[::1]/", "::1, which is not public"),
        ("/loop", "more than 3 redirects"),
        ("https://", "more than 3 redirects"),
        ("https://a:b:c/", "leads to a URL that is not valid"),
    ],
)
def test_a_redirect_elsewhere_is_refused(files, downloader, tmp_path, location, why):
    files.answers["/loop"] = lambda _: (302, {"Location": location}, b"")
    with pytest.raises(DatasetRejected, match=why) as refused:
        downloader.fetch(f"{files.address}/loop", tmp_path / "a")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("status", "error", "why"),
    [
        (404, DatasetRejected, "there is nothing at"),
        (410, DatasetRejected, "there is nothing at"),
        (401, DatasetRejected, "may not be read without credentials"),
        (403, DatasetRejected, "may not be read without credentials"),
        (418, DatasetRejected, "answers HTTP 418"),
        (429, TransientError, "answers HTTP 429"),
        (500, TransientError, "answers HTTP 500"),
        (503, TransientError, "answers HTTP 503"),
    ],
)
def test_failures_are_told_apart(files, downloader, tmp_path, status, error, why):
    files.answers["/a?query=1"] = lambda _: (status, {}, b"")
    with pytest.raises(error, match=why):
        downloader.fetch(f"{files.address}/a?query=1", tmp_path / "a")


def test_a_certificate_that_is_not_valid_is_refused(files, tmp_path):
    with pytest.raises(DatasetRejected, match="the certificate of the server is not valid"):
        Downloader(DownloadLimits(1 << 20, 60, LOOPBACK)).fetch(f"{files.address}/a", tmp_path / "a")


def test_a_server_that_is_not_there_may_be_there_later(downloader, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(TransientError, match="does not answer"):
        downloader.fetch(f"https://127.0.0.1:{port}/a", tmp_path / "a")


def test_a_file_that_is_too_large_or_too_slow_is_refused_on_the_way(files, certificate, tmp_path):
    context = ssl.create_default_context(cafile=str(certificate))
    files.contents["/a"] = bytes(1_000_000)
    with pytest.raises(DatasetRejected, match=r"more than 99,999 bytes \(DAPPLE_DOWNLOAD_BYTES\)"):
        Downloader(DownloadLimits(99_999, 60, LOOPBACK), ssl_context=context).fetch(f"{files.address}/a", tmp_path / "a")
    assert (tmp_path / "a").stat().st_size < 500_000
    with pytest.raises(DatasetRejected, match="took longer than 0 s"):
        Downloader(DownloadLimits(1 << 30, 0, LOOPBACK), ssl_context=context).fetch(f"{files.address}/a", tmp_path / "a")


def test_proxies_of_the_environment_are_not_asked(files, downloader, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    files.contents["/a"] = b"content"
    assert downloader.fetch(f"{files.address}/a", tmp_path / "a").read_bytes() == b"content"


def test_headers_with_a_token_go_to_trusted_hosts_alone(files, downloader, tmp_path):
    files.contents["/a"] = b"content"
    files.answers["/away"] = lambda _: (302, {"Location": files.address.replace("127.0.0.1", "localhost") + "/a"}, b"")
    port = int(files.address.rpartition(":")[2])
    asking = Downloader(downloader.limits, [("127.0.0.1", port)], {"Authorization": "Bearer x"}, downloader.ssl_context)
    asking.fetch(f"{files.address}/a", tmp_path / "a")
    with pytest.raises(DatasetRejected, match="certificate"):  # it names 127.0.0.1 alone; no header was sent before
        asking.fetch(f"{files.address}/away", tmp_path / "a")
    assert [headers.get("authorization") for _, headers in files.requests] == ["Bearer x", "Bearer x"]
    downloader.fetch(f"{files.address}/a", tmp_path / "a")
    assert "authorization" not in files.requests[-1][1]


def test_a_source_has_a_fingerprint_as_long_as_its_server_names_one(files, downloader):
    files.contents["/a.zip"] = b"x" * 10
    source = HttpsSource(f"{files.address}/a.zip", downloader)
    assert source.fingerprint(no_heartbeat) is None
    files.etags["/a.zip"] = '"one"'
    assert downloader.probe(source.url) == Found(10, '"one"')
    one = source.fingerprint(no_heartbeat)
    assert one == source.fingerprint(no_heartbeat) is not None
    files.etags["/a.zip"] = '"two"'
    assert source.fingerprint(no_heartbeat) != one


def library(tmp_path: Path, monkeypatch, downloader: Downloader, **settings) -> DatasetLibrary:
    from app.storage.local import LocalArtifactStore
    from worker.datasets.remote import remote
    from worker.disk_cache import DiskCache

    monkeypatch.setattr(remote, "Downloader", lambda limits: Downloader(limits, ssl_context=downloader.ssl_context))
    found = Settings.model_validate({"dataset_networks": "127.0.0.0/8", **settings})
    return DatasetLibrary(LocalArtifactStore(tmp_path / "store"), DiskCache(tmp_path / "cache", 1 << 30), found)


def test_a_tar_behind_a_url_is_a_dataset_that_is_downloaded_once(files, downloader, tmp_path, monkeypatch):
    files.contents["/animals"] = sources.tarred(tmp_path / "animals", "gz").read_bytes()
    files.etags["/animals"] = '"one"'
    datasets = library(tmp_path, monkeypatch, downloader)
    source = Source(parse(f"{files.address}/animals"), (), 0.25)
    found = [datasets.read(source, Pixels(8, 3), tmp_path) for _ in range(2)]
    assert [(each.classes, len(each.train), len(each.test)) for each in found] == [(sources.CLASSES, 8, 4)] * 2
    assert [headers.get("range") for _, headers in files.requests] == ["bytes=0-0", None, "bytes=0-0"]


def test_a_page_is_no_dataset(files, downloader, tmp_path, monkeypatch):
    files.contents["/"] = b"<html>sign in</html>"
    with pytest.raises(DatasetRejected, match="no dataset is recognised in it"):
        library(tmp_path, monkeypatch, downloader).read(Source(parse(f"{files.address}/"), (), 0.25), Pixels(8, 3), tmp_path)


def test_a_bucket_that_is_not_allowed_is_refused(downloader, tmp_path, monkeypatch):
    datasets = library(tmp_path, monkeypatch, downloader, dataset_buckets="mine")
    with pytest.raises(InvalidSpec, match=r"may not come from the bucket other \(DAPPLE_DATASET_BUCKETS: mine\)"):
        datasets.read(Source(parse("s3://other/x"), (), 0.25), Pixels(8, 3), tmp_path)


COMMIT = "a" * 40


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[FileServer]:
    """The few routes of the hub that a dataset needs, for owner/animals at one commit."""
    root = sources.hugging_face(tmp_path / "hub")
    contents = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.parquet")}
    contents |= {"README.md": b"# animals", "animals.py": b"raise SystemExit"}
    with serving() as server:
        siblings = [{"rfilename": name, "size": len(content)} for name, content in contents.items()]
        about = {"id": "owner/animals", "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
        for revision in ("", "/revision/main", f"/revision/{COMMIT}"):
            path = f"/api/datasets/owner/animals{revision}?blobs=true"
            server.answers[path] = lambda _: (200, {"Content-Type": "application/json"}, json.dumps(about).encode())
        for name, content in contents.items():
            server.contents[f"/datasets/owner/animals/resolve/{COMMIT}/{name}"] = content
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield server


def test_a_dataset_of_the_hub_is_read_at_one_commit_without_its_scripts(hub, tmp_path):
    (tmp_path / "fetched").mkdir()
    source = HubSource(parse("hf://datasets/owner/animals"), DownloadLimits(1 << 30, 60))
    assert source.revision == COMMIT
    path = source.fetch(tmp_path / "fetched", no_heartbeat)
    assert {each.name for each in path.rglob("*") if each.is_file()} == {
        "README.md",
        "train-00000-of-00001.parquet",
        "test-00000-of-00001.parquet",
    }
    asked = [(route, headers.get("authorization")) for route, headers in hub.requests if "/resolve/" in route]
    assert all(COMMIT in route and sent == "Bearer hf_secret" for route, sent in asked)
    part = HubSource(parse("hf://datasets/owner/animals@main/data"), DownloadLimits(1 << 30, 60))
    (tmp_path / "part").mkdir()
    assert part.fetch(tmp_path / "part", no_heartbeat) == tmp_path / "part" / "data"
    assert part.fingerprint(no_heartbeat) != source.fingerprint(no_heartbeat)


def test_what_the_hub_does_not_have_is_told(hub, tmp_path):
    with pytest.raises(DatasetRejected, match="has no data files"):
        HubSource(parse("hf://datasets/owner/animals/elsewhere"), DownloadLimits(1 << 30, 60)).fetch(tmp_path, no_heartbeat)
    with pytest.raises(DatasetRejected, match=r"has [\d,]+ bytes \(DAPPLE_DOWNLOAD_BYTES: 10\)"):
        HubSource(parse("hf://datasets/owner/animals"), DownloadLimits(10, 60)).fetch(tmp_path, no_heartbeat)
    hub.answers["/api/datasets/owner/none?blobs=true"] = lambda _: (404, {"X-Error-Code": "RepoNotFound"}, b"{}")
    with pytest.raises(DatasetRejected, match="the hub shows no dataset owner/none"):
        HubSource(parse("hf://datasets/owner/none"), DownloadLimits(1 << 30, 60)).fetch(tmp_path, no_heartbeat)


def test_the_same_images_from_the_hub_and_from_a_url_are_one_dataset(hub, files, downloader, tmp_path, monkeypatch):
    files.contents["/a"] = sources.tarred(tmp_path / "animals").read_bytes()
    datasets = library(tmp_path, monkeypatch, downloader)
    found = [
        datasets.read(Source(parse(uri), (), 0.25), Pixels(8, 3), tmp_path)
        for uri in ("hf://datasets/owner/animals", f"{files.address}/a", "hf://datasets/owner/animals")
    ]
    assert len({each.digest for each in found}) == 1
    assert [each.revision for each in found] == [COMMIT, None, COMMIT]
