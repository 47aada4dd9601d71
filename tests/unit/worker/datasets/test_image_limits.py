import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from worker.datasets.image_limits import MAX_CHUNKS, MAX_SCANS, chunks_of, scans_of, structural_fault

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def encoded(form: str, **options) -> bytes:
    stream = io.BytesIO()
    NOISE.save(stream, form, **options)
    return stream.getvalue()


def with_scans(jpeg: bytes, count: int) -> bytes:
    """The progressive image with its last scan so many times more."""
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + jpeg[last:-2] * count + jpeg[-2:]


def with_empty_chunks(png: bytes, count: int) -> bytes:
    place = png.index(b"IDAT") - 4
    return png[:place] + (struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))) * count + png[place:]


def test_the_scans_of_an_image_are_counted():
    assert scans_of(encoded("JPEG")) == 1
    assert scans_of(encoded("JPEG", progressive=True)) == 10
    assert scans_of(with_scans(encoded("JPEG", progressive=True), 20)) == 30


@pytest.mark.parametrize("scan", [b"\xff\xda", b"\xff\xff\xda"])
def test_what_only_looks_like_a_scan_is_none(scan):
    jpeg = encoded("JPEG", comment=scan * 500)
    assert scans_of(jpeg + scan * 500) == 1


def test_more_scans_than_any_encoder_writes_are_refused():
    jpeg = encoded("JPEG", progressive=True)
    assert structural_fault(with_scans(jpeg, MAX_SCANS - 10)) is None
    assert structural_fault(with_scans(jpeg, MAX_SCANS - 9)) == "more than 64 JPEG scans"
    assert structural_fault(with_scans(jpeg, 10_000)) == "more than 64 JPEG scans"


def test_more_chunks_than_any_encoder_writes_are_refused():
    png = encoded("PNG")
    assert chunks_of(png) == 3
    assert structural_fault(with_empty_chunks(png, MAX_CHUNKS - 3)) is None
    assert structural_fault(with_empty_chunks(png, MAX_CHUNKS - 2)) == "more than 65,536 PNG chunks"


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"\xff\xd8\xff\xda", b"\x89PNG\r\n\x1a\n\0", b"GIF89a", bytes(100)])
def test_what_is_cut_off_is_left_to_the_decoder(content):
    assert structural_fault(content) is None
