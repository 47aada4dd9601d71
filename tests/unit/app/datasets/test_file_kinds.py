import io
import pickle
import tarfile
import zipfile

import pytest

from app.datasets.file_kinds import HEAD_BYTES, FileKind, kind_of, kinds_among


def tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return stream.getvalue()


def old_tar() -> bytes:
    """A header from before ustar: without a magic, so that only the checksum tells."""
    header = bytearray(512)
    header[:1] = b"a"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a", "b")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (tar(), FileKind.TAR),
        (old_tar(), FileKind.TAR),
        (zipped(), FileKind.ZIP),
        (pickle.dumps({}, 2), FileKind.PICKLE),
        (pickle.dumps({}, 5), FileKind.PICKLE),
        (b"\0\0\x08\x03" + bytes(12), FileKind.IDX),
        (b"\0\0\x08\x09" + bytes(12), None),
        (b"PAR1", FileKind.PARQUET),
        (b"", None),
        (bytes(512), None),
        (b"\x89PNG\r\n\x1a\n" + bytes(600), None),
        (b"\xff\xd8\xff\xe0", None),
    ],
)
def test_a_file_is_told_by_its_first_bytes(content, kind):
    assert kind_of(content[:HEAD_BYTES]) is kind


def test_text_files_are_not_looked_into():
    looked = []

    def head(path: str) -> bytes:
        looked.append(path)
        return b"PAR1"

    assert kinds_among(["a/notes.txt", "b.json", "data", "c.parquet"], head) == dict.fromkeys(
        ["data", "c.parquet"], FileKind.PARQUET
    )
    assert looked == ["data", "c.parquet"]
