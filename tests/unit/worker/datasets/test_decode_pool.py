"""Children that decode: the pool, the program that they run (decode_child) and what both say to each other (decode_wire)."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from PIL import Image

from app.domain.errors import TransientError
from worker.datasets import decode_pool
from worker.datasets.decode import MAX_PIXELS, Picture, Pixels, decode
from worker.datasets.decode_pool import Decoded, DecodePool, Refused, decoders

FORM = Pixels(4, 3)
DYING = "tests.unit.worker.datasets.dying_child"


def picture(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def dying() -> Iterator[DecodePool]:
    pool = DecodePool(1, MAX_PIXELS, program=DYING)
    yield pool
    pool.close()


def outcomes(pool: DecodePool, *contents: str) -> list[str | Refused]:
    found = pool.decode([content.encode() for content in contents], FORM)
    return [one if isinstance(one, Refused) else "good" for one in found]


def same(found: Decoded, expected: Picture) -> bool:
    if isinstance(found, Refused):
        return False
    told = [(one.width, one.height, one.mode) for one in (found, expected)]
    return told[0] == told[1] and np.array_equal(found.pixels, expected.pixels)


def test_children_give_the_same_pixels_as_the_decoder_in_the_same_order():
    contents = [picture(seed) for seed in range(20)]
    found = decoders(MAX_PIXELS).decode(contents, FORM)
    assert all(same(image, decode(content, FORM)) for image, content in zip(found, contents, strict=True))


def test_a_damaged_file_has_its_reason_and_the_others_their_pixels():
    first, bad, last = decoders(MAX_PIXELS).decode([picture(0), b"no image", picture(1)], FORM)
    assert isinstance(bad, Refused)
    assert (bad.reason.startswith("not a PNG"), bad.killed) == (True, False)
    assert isinstance(first, Picture)
    assert isinstance(last, Picture)


def test_threads_share_the_children():
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda seed: decoders(MAX_PIXELS).decode([picture(seed)], FORM)[0], range(32)))
    assert all(same(image, decode(picture(seed), FORM)) for seed, image in enumerate(found))


@pytest.mark.parametrize(
    ("word", "reason"),
    [("kill", "crashes its decoder"), ("busy", "takes too much time to decode"), ("lie", "crashes its decoder")],
)
@pytest.mark.slow
def test_a_file_that_kills_its_child_is_damaged_and_the_pool_goes_on(dying, word, reason):
    killed = Refused(reason, killed=True)
    assert outcomes(dying, "fine", word, "fine", word, word, "bad why", "fine") == [
        "good", killed, "good", killed, killed, Refused("why"), "good",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_file_whose_child_died_by_another_fault_is_tried_again(dying, tmp_path):
    assert outcomes(dying, "fine", f"once {tmp_path / 'died'}", "fine") == ["good"] * 3


@pytest.mark.slow
def test_a_file_without_an_answer_is_damaged(dying, monkeypatch):
    monkeypatch.setattr(decode_pool, "WALL_SECONDS", 1.0)
    assert outcomes(dying, "silent", "fine") == [Refused("takes more than 1 s to decode", killed=True), "good"]


@pytest.mark.slow
def test_a_child_that_was_killed_between_two_files_is_started_again(dying):
    assert outcomes(dying, "fine") == ["good"]
    for child in psutil.Process().children():
        child.kill()
    assert outcomes(dying, "fine", "fine") == ["good", "good"]


def test_a_child_that_cannot_start_is_no_fault_of_the_file(capfd):
    pool = DecodePool(1, MAX_PIXELS, program="worker.no_such_module")
    with pytest.raises(TransientError, match="did not start"):
        pool.decode([picture(0)], FORM)
    assert "no_such_module" in capfd.readouterr().err
    pool.close()


@pytest.mark.slow
def test_a_child_has_no_more_memory_than_its_pixels_need():
    pool = DecodePool(1, max_pixels=1)
    wide = Image.new("RGBA", (16_000, 16_000), "red")
    stream = io.BytesIO()
    wide.save(stream, "PNG", compress_level=1)
    (found,) = pool.decode([stream.getvalue()], Pixels(4, 3, max_pixels=1 << 28))
    pool.close()
    assert isinstance(found, Refused)
    assert "memory" in found.reason
