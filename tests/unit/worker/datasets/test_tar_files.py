"""Tars and compressed tars (tar_files), and files that refuse large reads (bounded_file)."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from app.datasets.file_kinds import FileKind
from app.domain.errors import DatasetRejected
from tests.unit.worker.datasets.sources import put
from worker.datasets.decode import BadImage
from worker.datasets.readers import tar_files
from worker.datasets.readers.tar_files import TarFiles, unpacked


def tar_of(path: Path, *members: tarfile.TarInfo | tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for member in members:
            if isinstance(member, tuple):
                put(archive, *member)
            else:
                archive.addfile(member)
    return path


def special(name: str, kind: bytes, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def opened(path: Path) -> TarFiles:
    return TarFiles(path, path.parent)


def test_members_are_read_by_their_names_in_any_order(tmp_path):
    long = "a" * 300 + "/é.png"
    tar = opened(
        tar_of(tmp_path / "a.tar", ("b.png", b"bb"), special("folder/", tarfile.DIRTYPE), (long, b"long"), ("a.png", b"a"))
    )
    assert tar.paths == ("a.png", long, "b.png")
    assert [tar.read(path) for path in tar.paths] == [b"a", b"long", b"bb"]
    assert [tar.size(path) for path in tar.paths] == [1, 4, 2]
    assert (tar.head("b.png"), tar.local("b.png").read_bytes()) == (b"bb", b"bb")


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (("../x.png", b""), r"'\.\./x\.png' is not a safe member name"),
        (("/etc/x.png", b""), "is not a safe member name"),
        (("a\\..\\x.png", b""), "is not a safe member name"),
        (special("x.png", tarfile.SYMTYPE, linkname="/etc/passwd"), r"'x\.png' is a link; pack the files"),
        (special("x.png", tarfile.LNKTYPE, linkname="a.png"), r"'x\.png' is a link"),
        (special("x.png", tarfile.CHRTYPE), r"'x\.png' is a device or a pipe"),
        (special("x.png", tarfile.FIFOTYPE), r"'x\.png' is a device or a pipe"),
        (special("x.png", tarfile.REGTYPE, size=1 << 40), r"'x\.png' is cut short"),
        (("a.png", b"again"), r"two members of the name 'a\.png'"),
    ],
)
def test_members_that_are_no_plain_files_are_refused_by_name(tmp_path, member, why):
    with pytest.raises(DatasetRejected, match=why):
        opened(tar_of(tmp_path / "a.tar", ("a.png", b"x"), member))


def test_a_header_that_asks_for_much_memory_is_refused(tmp_path):
    with pytest.raises(DatasetRejected, match="a header is longer than 1,048,576 bytes"):
        opened(tar_of(tmp_path / "a.tar", special("x", tarfile.XHDTYPE, size=(8 << 30) - 1)))


@pytest.mark.parametrize("keep", [100, 700, 1024 + 100])
def test_a_tar_that_is_cut_short_is_refused(tmp_path, keep):
    path = tar_of(tmp_path / "a.tar", ("a.png", b"x" * 600), ("b.png", b"y" * 600))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DatasetRejected, match=r"not a readable tar|cut short"):
        opened(path)


def test_a_member_that_is_too_large_is_a_bad_image(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_files, "MAX_FILE_BYTES", 3)
    tar = opened(tar_of(tmp_path / "a.tar", ("a.png", b"1234")))
    with pytest.raises(BadImage, match=r"a\.png: larger than"):
        tar.read("a.png")


def test_listing_can_be_stopped(tmp_path):
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TarFiles(tar_of(tmp_path / "a.tar", ("a.png", b"x")), tmp_path, stop)


def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_files, "SMALL_BYTES", 1 << 20)
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(32 << 20)))
    with pytest.raises(DatasetRejected, match=r"a\.gz unpacks to more than"):
        unpacked(tmp_path / "a.gz", FileKind.GZIP, tmp_path / "out")
    assert (tmp_path / "out").stat().st_size < 9 << 20


@pytest.mark.parametrize("kind", [FileKind.GZIP, FileKind.BZIP2, FileKind.ZSTD])
def test_a_damaged_archive_is_refused(tmp_path, kind):
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb") as file:
        file.write(bytes(range(256)) * 1000)
    (tmp_path / "a").write_bytes(stream.getvalue()[:-300] if kind is FileKind.GZIP else b"BZh9" + bytes(90))
    with pytest.raises(DatasetRejected, match=r"a cannot be unpacked .*; copy or download it again"):
        unpacked(tmp_path / "a", kind, tmp_path / "out")
