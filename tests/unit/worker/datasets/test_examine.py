import hashlib
import os
from threading import Event
from types import SimpleNamespace

import pytest

from app.datasets.image_folder import Item
from app.domain.errors import DatasetRejected
from tests.unit.worker.datasets.test_decode_pool import DYING, picture
from worker.datasets import examine as module
from worker.datasets.decode import MAX_PIXELS, BadImage, Pixels
from worker.datasets.decode_pool import DecodePool
from worker.datasets.examine import examine
from worker.datasets.readers.regular_file import open_regular

FORM = Pixels(4, 1)


class Contents:
    """Files in memory; a None cannot be read."""

    def __init__(self, contents: dict[str, bytes | None]) -> None:
        self._contents = contents
        self.items = [Item(path, path, "class", None) for path in contents]

    def size(self, path: str) -> int:
        return len(self._contents[path] or b"")

    def read(self, path: str) -> bytes:
        content = self._contents[path]
        if content is None:
            raise BadImage(path, "gone")
        return content


@pytest.fixture
def dying(monkeypatch):
    pool = DecodePool(2, MAX_PIXELS, program=DYING)
    monkeypatch.setattr(module, "decoders", lambda _max_pixels: pool)
    yield
    pool.close()


@pytest.mark.parametrize(("files", "size"), [(1, 8 << 20), (8, 1), (8, 8 << 20), (3, 8 << 20)])
def test_files_are_examined_in_their_order_however_they_are_sent(monkeypatch, files, size):
    monkeypatch.setattr(module, "PART_FILES", files)
    monkeypatch.setattr(module, "PART_BYTES", size)
    held = {f"{number}.png": None if number == 5 else b"no" if number == 6 else picture(number) for number in range(20)}
    contents = Contents(held)
    found = list(examine(contents, contents.items, FORM))
    assert [one.picture is not None for one in found] == [number not in (5, 6) for number in range(20)]
    assert [one.sha256 for one in found] == [(content and hashlib.sha256(content).digest()) or b"" for content in held.values()]
    assert [one.content for one in found if one.picture] == [
        content for content in held.values() if content and content != b"no"
    ]
    assert str(found[5].fault) == "5.png: gone"
    assert str(found[6].fault).startswith("6.png: not a PNG")


@pytest.mark.usefixtures("dying")
@pytest.mark.slow
def test_so_many_files_beyond_the_limits_are_no_accident(monkeypatch):
    monkeypatch.setattr(module, "MOST_KILLED", 2)
    contents = Contents({f"{number}.png": b"busy" if number % 3 == 0 else b"fine" for number in range(12)})
    with pytest.raises(DatasetRejected, match=r"more than 2 files .* such as 6\.png: takes too much time"):
        list(examine(contents, contents.items, FORM))


@pytest.mark.parametrize(("side", "most"), [(32, 16), (1024, 2), (4096, 1)])
def test_a_part_has_no_more_decoded_bytes_than_a_message(side, most):
    contents = Contents({f"{number}.png": b"x" for number in range(16)})
    parts = list(module._parts(contents, contents.items, Pixels(side, 3)))
    assert {len(part) for part in parts} == {most}


class Stop(Exception):
    pass


def test_a_reader_that_is_stopped_reads_no_more_than_the_parts_at_work(monkeypatch):
    """Reading stands still until the heartbeat, which comes while the first part is awaited, has raised."""
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(module, "decoders", lambda _max_pixels: SimpleNamespace(size=2, decode=lambda contents, _: contents))
    goes_on, read = Event(), []

    class Slow(Contents):
        def read(self, path):
            goes_on.wait()
            read.append(path)
            return super().read(path)

    def heartbeat():
        goes_on.set()
        raise Stop

    contents = Slow({f"{number}.png": None for number in range(400)})
    with pytest.raises(Stop):
        list(examine(contents, contents.items, FORM, heartbeat))
    assert len(read) <= 32  # two parts at work and two that wait for a thread


def test_only_regular_files_are_opened(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    with open_regular(tmp_path / "file") as file:
        assert file.read() == b"content"
    for name in ("link", "pipe", "missing", "."):
        with pytest.raises(OSError):
            open_regular(tmp_path / name)
